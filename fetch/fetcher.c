/* The main loop: packets of commands and needs of the server, each handed on without waiting. */
#include "fetch/fetcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/message.h"
#include "base/report.h"
#include "base/sandbox.h"
#include "base/thread.h"
#include "fetch/ahead.h"
#include "fetch/background.h"
#include "fetch/context.h"
#include "fetch/fill.h"
#include "fetch/first_touch.h"
#include "fetch/idle.h"
#include "fetch/lazy_pack.h"
#include "fetch/passing.h"
#include "fetch/requests.h"

#define TICK_MS 1000

struct fetcher {
	const struct fetcher_setup *setup;
	struct context *context;
	struct fill *fill;
	struct ahead *ahead;
	struct requests *requests;
	struct idle *idle;
};

/* Layers half made or half removed by a fetcher that died. Their names are random: none is in use. */
static void *remove_leftovers(void *argument)
{
	const struct store *s = argument;
	int fd = openat(s->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		fd_close(&fd);
		return NULL;
	}
	while ((d = readdir(dir)))
		if (strncmp(d->d_name, "old-", 4) == 0)
			fd_remove_tree(s->tmp_fd, d->d_name);
	closedir(dir);
	return NULL;
}

/* Renamed first, so that the slow removing can go on beside new work. */
static void set_leftovers_aside(struct store *s)
{
	int fd = openat(s->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned int n = 0;
	struct dirent *d;

	if (!dir) {
		fd_close(&fd);
		return;
	}
	while ((d = readdir(dir))) {
		char aside[320];

		if (strncmp(d->d_name, "layer-", 6) != 0 && strncmp(d->d_name, "gone-", 5) != 0 &&
		    strncmp(d->d_name, "old-", 4) != 0)
			continue;
		n++;
		snprintf(aside, sizeof(aside), "old-%s", d->d_name);
		if (d->d_name[0] != 'o')
			renameat(s->tmp_fd, d->d_name, s->tmp_fd, aside);
	}
	closedir(dir);
	if (n)
		thread_start_detached(remove_leftovers, s);
}

/* A new fetcher, in a new sandbox, goes on as after any kill. */
static void end_when_outdated(const struct fetcher *f)
{
	if (sandbox_is_outdated(f->setup->store->run_fd))
		raise(SIGKILL);
}

static int read_command(struct fetcher *f)
{
	struct json_object *o = NULL;
	struct message_head head;
	bool asked;
	int r = message_receive(f->setup->command_fd, 0, &head, &o);

	if (r == -EAGAIN)
		return 0;
	if (r == -EPIPE)
		return -EPIPE;
	if (r < 0) {
		report_note("a packet that cannot be read: %s", strerror(-r));
		return 0;
	}
	asked = head.kind == MESSAGE_REQUEST || head.kind == MESSAGE_AGAIN;
	if (asked)
		end_when_outdated(f); /* it may name a layout that was allowed just now */
	if ((asked || head.kind == MESSAGE_REPLAY) && o)
		requests_handle(f->requests, &head, o, head.kind == MESSAGE_REPLAY);
	else
		json_object_put(o);
	if (head.kind == MESSAGE_GONE)
		requests_gone(f->requests, head.connection);
	return 0;
}

static void read_need(struct fetcher *f)
{
	bool profiled = false;
	struct need n;
	ssize_t size = recv(f->setup->need_fd, &n, sizeof(n), MSG_DONTWAIT);

	if (size != sizeof(n))
		return;
	if (n.kind == NEED_PAGES && !lazy_pack_hold(f->context->packs, &n))
		fill_need(f->fill, &n, !lazy_pack_fills(f->context->packs, n.number, false));
	if (n.kind == NEED_PAGES || n.kind == NEED_TOUCHED)
		profiled = first_touch_note(f->context->touches, &n);
	if (n.kind == NEED_TOUCHED && !profiled && !lazy_pack_fills(f->context->packs, n.number, n.error != 0))
		ahead_touch(f->ahead, &n);
}

/* Said again each idle period: the supervisor leaves only when no connection is open. */
static void say_idle(struct fetcher *f)
{
	struct message_head head = {.kind = MESSAGE_IDLE};
	int64_t seconds;

	if (f->setup->idle_seconds == 0 || !requests_idle(f->requests, &seconds) ||
	    seconds < f->setup->idle_seconds || background_busy(f->context->background))
		return;
	message_send(f->setup->command_fd, &head, NULL, 1000);
}

static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 << 10); /* fixed: large buffers go back when they are freed */
}

int fetcher_run(const struct fetcher_setup *setup)
{
	struct fetcher f = {.setup = setup};
	int r;

	raise_limits();
	r = sandbox_enter_fetcher(setup->store->store_fd, setup->store->run_fd);
	if (r == 0)
		r = context_new(setup, &f.context);
	if (r == 0)
		r = passing_new(f.context, &f.context->passing);
	if (r == 0)
		r = fill_new(f.context, &f.fill);
	if (r == 0)
		r = ahead_new(f.context, f.fill, &f.ahead);
	if (r == 0)
		r = lazy_pack_new(f.context, f.fill, &f.context->packs);
	if (r == 0)
		r = first_touch_new(f.context, f.fill, &f.context->touches);
	if (r == 0)
		r = background_new(f.context, f.fill, &f.context->background);
	if (r == 0)
		r = requests_new(f.context, f.fill, &f.requests);
	if (r == 0)
		r = idle_new(f.context, f.requests, f.fill, &f.idle);
	if (r < 0)
		return r;
	set_leftovers_aside(setup->store);
	for (int64_t ticked = clock_ms();;) { /* so who is outdated at once is not so all the time */
		struct pollfd p[2] = {{.fd = setup->command_fd, .events = POLLIN},
				      {.fd = setup->need_fd, .events = POLLIN}};

		r = poll(p, 2, TICK_MS);
		if (r < 0 && errno != EINTR)
			return fail(errno, "poll: %s", strerror(errno));
		if (clock_ms() - ticked >= TICK_MS) {
			ticked = clock_ms();
			requests_tell_waiting(f.requests);
			say_idle(&f);
			idle_tick(f.idle);
			first_touch_tick(f.context->touches);
			end_when_outdated(&f);
		}
		if (r > 0 && p[0].revents && read_command(&f) == -EPIPE) {
			first_touch_save(f.context->touches);
			idle_last(f.idle);
			return 0;
		}
		if (r > 0 && p[1].revents)
			read_need(&f);
	}
}
