/* One detached thread a request: they wait for registries, and there are few. */
#include "fetch/requests.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/holds.h"
#include "fetch/operations.h"

#define REQUESTS_MAX 128u
#define ANSWERED 1 /* the supervisor answers: it knows who is connected */

struct requests {
	struct context *context;
	struct fill *fill;
	int64_t started; /* clock_ms() */
	pthread_mutex_t lock; /* guards the rest */
	unsigned int running;
	uint64_t answered;
	struct request *first;
	int64_t last_used;
};

struct request {
	struct request *next; /* of those that run */
	struct requests *all;
	struct message_head head;
	struct operation operation; /* its object is ours */
	atomic_bool gone; /* nobody waits for the answer any more */
	_Atomic(const char *) waiting_for; /* the registry or layout that is asked; NULL: none */
};

static int64_t now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_errno(struct json_object *o, int err)
{
	json_object_object_add(o, "errno", json_object_new_int(err));
}

/* Here it is known who is at work. */
static int stop(const struct request *q)
{
	struct message_head idle = {.kind = MESSAGE_IDLE};
	char key[IMAGE_KEY_SIZE], mount[PATH_MAX];
	int force = 0, r = 0;

	json_field_bool(q->operation.o, "force", &force);
	pthread_mutex_lock(&q->all->lock);
	if (!force && holds_get(q->all->context->holds, 0, key, sizeof(key), mount, sizeof(mount)))
		r = fail(EBUSY, "in use: the image mounted at %s; umount it first, or use --force", mount);
	else if (!force && q->all->running > 1)
		r = fail(EBUSY, "in use: another command is at work; wait for it, or use --force");
	pthread_mutex_unlock(&q->all->lock);
	if (r < 0)
		return r;
	idle.connection = q->head.connection;
	idle.remember[0] = force ? 1 : 0;
	r = message_send(q->all->context->setup->command_fd, &idle, NULL, 5000);
	return r < 0 ? r : ANSWERED;
}

static int run(const struct request *q, struct json_object *answer)
{
	const char *op = "";

	json_field_string(q->operation.o, "op", &op);
	return strcmp(op, "stop") == 0 ? stop(q) : operations_run(&q->operation, answer);
}

static void reply(const struct request *q, struct json_object *answer, int r, const char *text)
{
	struct message_head head = {.kind = MESSAGE_LAST, .connection = q->head.connection};
	int command_fd = q->all->context->setup->command_fd, sent;

	add_errno(answer, r < 0 ? -r : 0);
	if (r < 0)
		add_text(answer, "error", text[0] ? text : strerror(-r));
	json_object_object_add(answer, "done", json_object_new_boolean(true));
	sent = message_send(command_fd, &head, answer, 10000);
	if (sent == -EMSGSIZE) { /* a store of very many images */
		struct json_object *short_one = json_object_new_object();

		add_errno(short_one, EMSGSIZE);
		add_text(short_one, "error", "there is more to list than one answer holds; remove some images");
		sent = message_send(command_fd, &head, short_one, 10000);
		json_object_put(short_one);
	}
	if (sent < 0)
		report_note("an answer could not be sent: %s", strerror(-sent));
}

static void end_request(struct request *q)
{
	struct requests *all = q->all;

	pthread_mutex_lock(&all->lock);
	for (struct request **at = &all->first; *at; at = &(*at)->next)
		if (*at == q) {
			*at = q->next;
			break;
		}
	all->running--;
	all->answered++;
	all->last_used = now_seconds();
	pthread_mutex_unlock(&all->lock);
}

static void *answer_request(void *argument)
{
	struct request *q = argument;
	struct json_object *answer = json_object_new_object();
	char text[REPORT_TEXT_SIZE];
	int r;

	report_capture(text);
	r = run(q, answer);
	report_capture(NULL);
	if (r < 0)
		report_note("%s", text[0] ? text : strerror(-r)); /* the log */
	end_request(q);
	if (r != ANSWERED)
		reply(q, answer, r, text);
	json_object_put(answer);
	json_object_put(q->operation.o);
	free(q);
	malloc_trim(0);
	return NULL;
}

/* -EBUSY: too many run. */
static int begin_request(struct request *q)
{
	struct requests *all = q->all;
	bool full;

	pthread_mutex_lock(&all->lock);
	full = all->running >= REQUESTS_MAX;
	if (!full) {
		all->running++;
		q->next = all->first;
		all->first = q;
	}
	pthread_mutex_unlock(&all->lock);
	return full ? -EBUSY : 0;
}

void requests_handle(struct requests *all, const struct message_head *head, struct json_object *o, bool replay)
{
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	struct request *q;
	int r;

	if (replay) {
		operations_replay(all->context, o);
		json_object_put(o);
		return;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		json_object_put(o);
		return;
	}
	q->all = all;
	q->head = *head;
	q->operation = (struct operation){.context = all->context, .fill = all->fill, .started = all->started, .head = &q->head,
					  .o = o, .gone = &q->gone, .waiting_for = &q->waiting_for};
	answer = json_object_new_object();
	r = begin_request(q);
	if (r == 0) {
		const bool known = operations_known(&q->operation, answer);

		r = known ? 0 : thread_start_detached(answer_request, q);
		if (r == 0 && !known)
			return; /* the thread has it all */
		end_request(q);
	}
	reply(q, answer, r, "too many requests at once; try again");
	json_object_put(o);
	free(q);
}

int requests_new(struct context *c, struct fill *fill, struct requests **ret)
{
	struct requests *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->context = c;
	all->fill = fill;
	all->started = clock_ms();
	all->last_used = now_seconds();
	pthread_mutex_init(&all->lock, NULL);
	*ret = all;
	return 0;
}

void requests_tell_waiting(struct requests *all)
{
	struct message_head head = {.kind = MESSAGE_REPLY};

	pthread_mutex_lock(&all->lock);
	for (const struct request *q = all->first; q; q = q->next) {
		const char *name = atomic_load(&q->waiting_for);
		struct json_object *o;

		if (!name)
			continue;
		o = json_object_new_object();
		add_text(o, "event", "waiting");
		add_text(o, "for", name);
		head.connection = q->head.connection;
		message_send(all->context->setup->command_fd, &head, o, 0);
		json_object_put(o);
	}
	pthread_mutex_unlock(&all->lock);
}

void requests_gone(struct requests *all, uint32_t connection)
{
	pthread_mutex_lock(&all->lock);
	for (struct request *q = all->first; q; q = q->next)
		if (q->head.connection == connection)
			atomic_store(&q->gone, true);
	pthread_mutex_unlock(&all->lock);
	context_wake_flights(all->context);
}

bool requests_work(struct requests *all, uint64_t *ret_answered)
{
	bool running;

	pthread_mutex_lock(&all->lock);
	running = all->running > 0;
	*ret_answered = all->answered;
	pthread_mutex_unlock(&all->lock);
	return running;
}

bool requests_idle(struct requests *all, int64_t *ret_seconds)
{
	bool idle;

	pthread_mutex_lock(&all->lock);
	idle = all->running == 0 && !holds_any(all->context->holds);
	*ret_seconds = now_seconds() - all->last_used;
	pthread_mutex_unlock(&all->lock);
	return idle;
}
