/* Puts the parts together; its own thread is the need thread. */
#include "fs/server.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "base/sandbox.h"
#include "fs/channel.h"
#include "fs/notice.h"
#include "fs/ops.h"

#define END_MS 10000

struct server {
	const struct server_setup *setup;
	struct image_views *views;
	struct dir_cache *dirs;
	struct places *places;
	struct reader *reader;
	struct ops *ops;
	struct fuse_session *se;
	struct notices *notices;
	int end_fd;
};

/* Small however many threads answer, and a file for each layer. */
static void set_limits(void)
{
	struct rlimit files;

	mallopt(M_ARENA_MAX, 1);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* A layer index that became shorter than its mapping: zeros in the missing page's place make it a broken
 * index, whose readers get EIO, instead of a server that dies again and again. */
static void cover_missing_page(int signal_number, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);

	(void)context;
	if (info->si_code != BUS_ADRERR || mmap((void *)page, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
						0) == MAP_FAILED)
		signal(signal_number, SIG_DFL);
}

static int watch_mappings(void)
{
	struct sigaction a = {.sa_sigaction = cover_missing_page, .sa_flags = SA_SIGINFO};

	return sigaction(SIGBUS, &a, NULL) < 0 ? fail(errno, "sigaction: %s", strerror(errno)) : 0;
}

static void record(struct server *s, bool on)
{
	int fd = on ? openat(s->setup->store->tmp_fd, "touched", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (on && fd < 0)
		report_note("%s/tmp/touched cannot be opened: %s", s->setup->store->store_path, strerror(errno));
	reader_record(s->reader, fd);
	atomic_fetch_add(&s->setup->control->n_dropped, 1);
}

/* What a fetcher or server that died may not have said. */
static void tell_removed(struct server *s)
{
	uint32_t n_images = number_table_n_images(s->setup->numbers), n_removed = 0;
	const uint32_t *layers;
	const char *key;
	size_t n;

	for (uint32_t i = n_images; i > 0; i--)
		if (number_table_image(s->setup->numbers, i, &key, &layers, &n) == -ENOENT) {
			image_view_drop(s->views, i);
			n_removed++;
		}
	if (n_removed > 0)
		notice_all_removed(s->notices);
}

static void receive_need(struct server *s)
{
	struct need n;

	if (recv(s->setup->need_fd, &n, sizeof(n), MSG_DONTWAIT) != sizeof(n))
		return;
	if (n.kind == NEED_INVALIDATE_IMAGE) {
		image_view_drop(s->views, n.number);
		notice_image_removed(s->notices, n.number);
	} else if (n.kind == NEED_INVALIDATE_LAYER)
		image_view_drop_layer(s->views, n.number);
	else if (n.kind == NEED_DROP_PAGES) {
		reader_forget_touched(s->reader);
		notice_layer_evicted(s->notices, n.number);
	}
	else if (n.kind == NEED_RECORD)
		record(s, n.number != 0);
	else
		reader_need(s->reader, &n);
	if (n.kind == NEED_RESTART)
		tell_removed(s);
}

/* The supervisor is gone, so nothing will be fetched any more: who waits hears of it. A notice under way may wait
 * in the kernel for one of them, and would keep the connection open for ever; then this process ends. */
static int end(struct server *s)
{
	const struct need give_up = {.kind = NEED_GIVE_UP};
	int64_t deadline = clock_ms() + END_MS;

	do {
		reader_end(s->reader);
		reader_need(s->reader, &give_up);
		poll(NULL, 0, 5);
	} while (notice_running(s->notices) && clock_left(deadline) > 0);
	return 0;
}

static int run(struct server *s)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = s->end_fd, .events = POLLIN},
				       {.fd = s->setup->need_fd, .events = POLLIN},
				       {.fd = reader_event_fd(s->reader), .events = POLLIN}};

		if (poll(fds, 3, reader_tick(s->reader)) < 0 && errno != EINTR)
			return fail(errno, "poll: %s", strerror(errno));
		if (fds[0].revents)
			return 0;
		if (fds[1].revents & POLLHUP)
			return end(s);
		if (fds[1].revents)
			receive_need(s);
	}
}

int server_run(const struct server_setup *setup)
{
	struct server s = {.setup = setup};
	int r;

	set_limits();
	r = sandbox_enter_server();
	if (r == 0)
		r = watch_mappings();
	if (r == 0)
		r = image_view_new(setup->store, setup->numbers, &s.views);
	if (r == 0)
		r = dir_cache_new(&s.dirs);
	if (r == 0)
		r = reader_new(setup->need_fd, &setup->control->parked_reads,
			       atomic_load(&setup->control->init_size) == 0, &s.reader);
	if (r == 0)
		r = place_new(setup->numbers, s.views, s.dirs, &s.places);
	if (r == 0)
		r = ops_new(s.places, s.reader, &s.ops);
	if (r == 0)
		r = ops_session(s.ops, &s.se);
	if (r == 0)
		r = notice_new(s.views, setup->numbers, setup->dev_fd, setup->control, &s.notices);
	if (r == 0)
		r = channel_start(s.se, setup->control, setup->dev_fd, &s.end_fd);
	if (r < 0)
		return r == -ENODEV ? 0 : r;
	tell_removed(&s);
	/* Nothing is freed: workers may still be at it, and the process ends. */
	return run(&s);
}
