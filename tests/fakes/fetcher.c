/* A stand-in for fetch/fetcher.c: images are registered by request, missing pages come from a file
 * "full" in the layer's directory, after a delay. */
#include "fetch/fetcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/message.h"
#include "base/report.h"
#include "cache/layer_store.h"
#include "fetch/need.h"

#define WAITING_MAX 4096
#define LAYERS_MAX 256

struct waiting {
	struct need need;
	int64_t due;
};

struct fake {
	const struct fetcher_setup *setup;
	struct layer_store *layers[LAYERS_MAX]; /* by number */
	int full_fds[LAYERS_MAX];
	struct waiting waiting[WAITING_MAX];
	size_t n_waiting;
	uint64_t delay_ms, fail_errno, n_asked, n_replayed, n_gone;
	uint64_t lose; /* so many needs are forgotten */
	bool hold; /* pages are not filled until it is taken back */
	uint32_t once, never; /* connections whose request is open */
};

static void answer(struct fake *f, uint32_t connection, struct json_object *o)
{
	struct message_head h = {.kind = MESSAGE_LAST, .connection = connection};

	message_send(f->setup->command_fd, &h, o, -1);
	json_object_put(o);
}

static int open_layer(struct fake *f, uint32_t number)
{
	char path[PATH_MAX];
	const char *key;

	if (number >= LAYERS_MAX || number_table_layer(f->setup->numbers, number, &key) < 0)
		return -ENOENT;
	if (f->layers[number])
		return 0;
	snprintf(path, sizeof(path), "%s/full", key);
	f->full_fds[number] = beneath_cache_open(f->setup->store->layers_fd, path, O_RDONLY, 0);
	if (f->full_fds[number] < 0)
		return f->full_fds[number];
	return layer_store_open(f->setup->store, key, true, &f->layers[number]);
}

static void fill(struct fake *f, const struct need *n)
{
	struct need done = *n;
	int r = f->fail_errno ? -(int)f->fail_errno : open_layer(f, n->number);

	for (uint64_t page = n->first_page; r == 0 && page < n->first_page + n->n_pages; page++) {
		uint64_t off = page * LAYER_PAGE, size = layer_store_size(f->layers[n->number]);
		uint8_t data[LAYER_PAGE];

		if (off >= size)
			break;
		size = size - off < LAYER_PAGE ? size - off : LAYER_PAGE;
		r = fd_pread_full(f->full_fds[n->number], data, size, off);
		if (r == 0)
			r = layer_store_put(f->layers[n->number], data, size, off);
	}
	done.kind = r < 0 ? NEED_FAILED : NEED_DONE;
	done.error = (uint32_t)-r;
	if (send(f->setup->need_fd, &done, sizeof(done), 0) < 0)
		report_note("need_fd: %s", strerror(errno));
}

static void fill_due(struct fake *f)
{
	for (size_t i = 0; i < f->n_waiting && !f->hold;) {
		struct need n = f->waiting[i].need;

		if (f->waiting[i].due > clock_ms()) {
			i++;
			continue;
		}
		f->waiting[i] = f->waiting[--f->n_waiting];
		fill(f, &n);
	}
}

static int add_image(struct fake *f, struct json_object *o)
{
	struct json_object *list;
	uint32_t layers[LIMIT_LAYERS], number;
	const char *key;
	size_t n;
	int r = json_field_string(o, "key", &key);

	if (r == 0)
		r = json_field_array(o, "layers", &list, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = number_table_add_layer(f->setup->numbers, json_object_get_string(json_object_array_get_idx(list, i)),
					   &layers[i]);
	return r < 0 ? r : number_table_add_image(f->setup->numbers, key, layers, n, &number);
}

static int remove_image(struct fake *f, struct json_object *o)
{
	struct need n = {.kind = NEED_INVALIDATE_IMAGE};
	const char *key;
	int r = json_field_string(o, "key", &key);

	if (r == 0)
		r = number_table_find_image(f->setup->numbers, key, &n.number);
	if (r < 0)
		return r;
	number_table_remove_image(f->setup->numbers, n.number);
	return send(f->setup->need_fd, &n, sizeof(n), 0) < 0 ? -errno : 0;
}

/* All pages of an image's layer: filled, or punched. */
static int each_layer(struct fake *f, struct json_object *o, bool punch)
{
	const char *key;
	uint32_t number;
	int r = json_field_string(o, "layer", &key);

	if (r == 0)
		r = number_table_find_layer(f->setup->numbers, key, &number);
	if (r == 0)
		r = open_layer(f, number);
	if (r == 0 && punch)
		r = layer_store_punch(f->layers[number],
				      &(struct layer_range){0, layer_store_size(f->layers[number])}, 1);
	return r;
}

static struct json_object *status(const struct fake *f)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "errno", json_object_new_int(0));
	json_object_object_add(o, "fetcher_pid", json_object_new_int(getpid()));
	json_object_object_add(o, "server_pid", json_object_new_int(*f->setup->server_pid));
	json_object_object_add(o, "supervisor_pid", json_object_new_int(*f->setup->supervisor_pid));
	json_object_object_add(o, "asked", json_object_new_int64((int64_t)f->n_asked));
	json_object_object_add(o, "waiting", json_object_new_int64((int64_t)f->n_waiting));
	json_object_object_add(o, "replayed", json_object_new_int64((int64_t)f->n_replayed));
	json_object_object_add(o, "open", json_object_new_int((f->once != 0) + (f->never != 0)));
	json_object_object_add(o, "gone", json_object_new_int64((int64_t)f->n_gone));
	return o;
}

static void request(struct fake *f, const struct message_head *h, struct json_object *o)
{
	struct message_head idle = {.kind = MESSAGE_IDLE, .connection = h->connection};
	struct message_head progress = {.kind = MESSAGE_REPLY, .connection = h->connection};
	struct json_object *a;
	const char *op = "";
	uint64_t hold = 0;
	int r = 0;

	json_field_string(o, "op", &op);
	if (strcmp(op, "image") == 0)
		r = add_image(f, o);
	else if (strcmp(op, "remove") == 0)
		r = remove_image(f, o);
	else if (strcmp(op, "punch") == 0)
		r = each_layer(f, o, true);
	else if (strcmp(op, "delay") == 0)
		r = json_field_u64(o, "ms", &f->delay_ms);
	else if (strcmp(op, "fail") == 0)
		r = json_field_u64(o, "with", &f->fail_errno);
	else if (strcmp(op, "lose") == 0)
		r = json_field_u64(o, "n", &f->lose);
	else if (strcmp(op, "hold") == 0) {
		r = json_field_u64(o, "hold", &hold);
		f->hold = hold;
	} else if (strcmp(op, "progress") == 0)
		message_send(f->setup->command_fd, &progress, o, -1);
	else if (strcmp(op, "never") == 0) {
		f->never = h->connection;
		return;
	} else if (strcmp(op, "once") == 0) {
		f->once = h->connection;
		return;
	} else if (strcmp(op, "release") == 0 && f->once) {
		answer(f, f->once, status(f));
		f->once = 0;
	} else if (strcmp(op, "stop") == 0) {
		message_send(f->setup->command_fd, &idle, NULL, -1);
		return;
	} else if (strcmp(op, "die") == 0) {
		_exit(3);
	}
	a = status(f);
	json_object_object_add(a, "errno", json_object_new_int(-r));
	answer(f, h->connection, a);
}

static int command(struct fake *f)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct message_head h;
	int r = message_receive(f->setup->command_fd, 0, &h, &o);

	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	if (h.kind == MESSAGE_REQUEST || h.kind == MESSAGE_AGAIN)
		request(f, &h, o);
	else if (h.kind == MESSAGE_REPLAY)
		f->n_replayed++;
	else if (h.kind == MESSAGE_GONE)
		f->n_gone++;
	return 0;
}

static void need(struct fake *f)
{
	struct need n;

	if (recv(f->setup->need_fd, &n, sizeof(n), MSG_DONTWAIT) != sizeof(n) || n.kind != NEED_PAGES)
		return;
	if (faccessat(f->setup->store->run_fd, "poison", F_OK, 0) == 0)
		_exit(3);
	f->n_asked++;
	if (f->lose > 0) {
		f->lose--;
		return;
	}
	if (f->n_waiting < WAITING_MAX)
		f->waiting[f->n_waiting++] = (struct waiting){n, clock_ms() + (int64_t)f->delay_ms};
}

int fetcher_run(const struct fetcher_setup *setup)
{
	struct fake *f = calloc(1, sizeof(*f));
	struct message_head idle = {.kind = MESSAGE_IDLE};
	int64_t used = clock_ms();

	f->setup = setup;
	f->delay_ms = 20;
	for (;;) {
		struct pollfd fds[2] = {{setup->command_fd, POLLIN, 0}, {setup->need_fd, POLLIN, 0}};
		int n = poll(fds, 2, f->n_waiting && !f->hold ? 2 : 100), r = 0;

		if (n > 0)
			used = clock_ms();
		if (fds[0].revents)
			r = command(f);
		if (r < 0)
			return r == -EPIPE ? 0 : r;
		if (fds[1].revents)
			need(f);
		fill_due(f);
		if (setup->idle_seconds && clock_ms() - used > setup->idle_seconds * 1000) {
			message_send(setup->command_fd, &idle, NULL, -1);
			used = clock_ms();
		}
	}
}
