/* libcurl's thread writes into the file; this one only asks again when it must. */
#include "fetch/download.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/wide.h"

#define STOP_MS 100u /* how soon who waits sees that it is to stop */

struct download {
	struct registry *registry; /* NULL: complete from the start */
	struct descriptor descriptor;
	int fd;
	bool owns_fd;
	pthread_t thread;
	const atomic_bool *stop; /* the waiting thread's; NULL: never */
	struct transport_watch watch; /* its lock guards `ended`, `result` and `text`, too */
	bool ended;
	int result;
	char text[REPORT_TEXT_SIZE];
};

static void *run(void *opaque)
{
	struct download *d = opaque;
	char text[REPORT_TEXT_SIZE];
	int r;

	report_capture(text);
	r = wide_stream(d->registry, &d->descriptor, d->fd, d->watch.position, &d->watch);
	report_capture(NULL);
	pthread_mutex_lock(&d->watch.lock);
	memcpy(d->text, text, sizeof(text));
	d->result = r;
	d->ended = true;
	pthread_cond_broadcast(&d->watch.moved);
	pthread_mutex_unlock(&d->watch.lock);
	return NULL;
}

static int make(int fd, uint64_t size, uint64_t from, struct download **ret)
{
	struct download *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->fd = fd;
	d->descriptor.size = size;
	transport_watch_init(&d->watch);
	d->watch.position = from;
	*ret = d;
	return 0;
}

int download_start(struct registry *g, const struct descriptor *descriptor, int fd, uint64_t from,
		   struct download **ret)
{
	_cleanup_(download_free) struct download *d = NULL;
	int r;

	if (from > descriptor->size)
		return fail(EINVAL, "%s: more bytes are there than the blob has", registry_name(g));
	r = make(fd, descriptor->size, from, &d);
	if (r < 0)
		return r;
	d->descriptor = *descriptor;
	d->registry = g;
	r = thread_start(&d->thread, run, d);
	if (r < 0) {
		d->registry = NULL; /* there is no thread to join */
		return fail(-r, "%s: no thread for a download: %s", registry_name(g), strerror(-r));
	}
	*ret = TAKE(d);
	return 0;
}

int download_complete(int fd, uint64_t size, struct download **ret)
{
	int r = make(fd, size, size, ret);

	if (r == 0)
		(*ret)->owns_fd = (*ret)->ended = true;
	return r;
}

void download_stop_when(struct download *d, const atomic_bool *stop)
{
	d->stop = stop;
}

/* The watch's lock is held. */
static void wait_a_moment(struct download *d)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += STOP_MS * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000L;
	end.tv_nsec %= 1000000000L;
	pthread_cond_timedwait(&d->watch.moved, &d->watch.lock, &end);
}

static bool is_stopped(const struct download *d)
{
	return d->stop && atomic_load(d->stop);
}

int download_wait(struct download *d, uint64_t have, uint64_t *ret_available)
{
	char text[REPORT_TEXT_SIZE];
	uint64_t available;
	int r;

	pthread_mutex_lock(&d->watch.lock);
	while (!d->ended && d->watch.position <= have && !is_stopped(d))
		wait_a_moment(d);
	available = d->watch.position;
	r = d->ended ? d->result : 0;
	memcpy(text, d->text, sizeof(text));
	pthread_mutex_unlock(&d->watch.lock);
	if (is_stopped(d))
		return -ECANCELED;
	if (r < 0 && available <= have)
		return text[0] ? fail(-r, "%s", text) : r;
	*ret_available = available;
	return 0;
}

int download_fd(const struct download *d)
{
	return d->fd;
}

void download_free(struct download **d)
{
	struct download *x = *d;

	if (!x)
		return;
	if (x->registry) {
		transport_cancel(registry_transport(x->registry), &x->watch);
		pthread_join(x->thread, NULL);
	}
	if (x->owns_fd)
		fd_close(&x->fd);
	transport_watch_destroy(&x->watch);
	free(x);
	*d = NULL;
}
