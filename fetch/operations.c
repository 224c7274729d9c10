/* Each reads its fields of the request, and fills in its part of the answer. */
#include "fetch/operations.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "fetch/background.h"
#include "fetch/check.h"
#include "fetch/convert.h"
#include "fetch/ensure_layers.h"
#include "fetch/first_touch.h"
#include "fetch/gc.h"
#include "fetch/holds.h"
#include "fetch/keep.h"
#include "fetch/lazy_requests.h"
#include "fetch/transport.h"

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

int operations_reference(struct json_object *o, struct reference *ret)
{
	const char *text;

	if (json_field_string(o, "reference", &text) < 0)
		return fail(EINVAL, "the request names no image");
	return reference_parse(text, ret);
}

static int get_pull(struct json_object *o, enum image_pull *ret)
{
	const char *text = "missing";

	json_field_string(o, "pull", &text);
	if (strcmp(text, "missing") == 0)
		*ret = IMAGE_PULL_MISSING;
	else if (strcmp(text, "always") == 0)
		*ret = IMAGE_PULL_ALWAYS;
	else if (strcmp(text, "never") == 0)
		*ret = IMAGE_PULL_NEVER;
	else
		return fail(EINVAL, "--pull=%s is not known; choose missing, always or never", text);
	return 0;
}

static int get_want(struct json_object *o, const struct reference *ref, struct image_want *ret)
{
	const char *trust = "repository";
	int whole = 0, r = get_pull(o, &ret->pull);

	json_field_string(o, "platform", &ret->platform);
	json_field_string(o, "trust", &trust);
	json_field_bool(o, "whole", &whole);
	ret->ref = ref;
	if (r < 0)
		return r;
	if (strcmp(trust, "repository") != 0 && strcmp(trust, "pinned") != 0)
		return fail(EINVAL, "--trust=%s is not known; choose repository or pinned", trust);
	ret->trust = whole			  ? IMAGE_TRUST_WHOLE :
		     strcmp(trust, "pinned") == 0 ? IMAGE_TRUST_PINNED :
						    IMAGE_TRUST_REPOSITORY;
	return 0;
}

static void get_how(struct json_object *o, struct ensure_how *ret)
{
	int require_lazy = 0, whole = 0, start = 0;

	json_field_bool(o, "require_lazy", &require_lazy);
	json_field_bool(o, "whole", &whole);
	json_field_bool(o, "start", &start);
	ret->require_lazy = require_lazy;
	ret->start = start;
	ret->whole = whole;
}

static void describe_image(const struct image *image, bool with_keys, struct json_object *answer)
{
	struct json_object *layers = json_object_new_array();
	char text[DIGEST_TEXT_MAX];

	add_text(answer, "reference", image->name.reference);
	add_text(answer, "image_key", with_keys ? image->key : "");
	add_number(answer, "image_number", with_keys ? image->number : 0);
	add_text(answer, "manifest_digest", digest_text(&image->name.manifest, text));
	add_text(answer, "config_digest", digest_text(&image->config, text));
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *l = &image->layers[i];
		struct json_object *o = json_object_new_object();

		add_text(o, "digest", digest_text(&l->blob.digest, text));
		add_text(o, "diff_id", digest_text(&l->diff_id, text));
		add_number(o, "size", l->blob.size);
		add_text(o, "media_type", media_type_text(l->blob.type));
		add_text(o, "key", l->key);
		add_text(o, "from", image_layer_origin(l));
		json_object_array_add(layers, o);
	}
	json_object_object_add(answer, "layers", layers);
}

/* Pending until it has its name: who removes another image in between leaves this one's parts. */
static int make_image(const struct operation *q, struct image *image, struct source *source, struct ensure_how *how,
		      const struct ensure_listener *listener)
{
	_cleanup_(bytes_free) struct bytes command = {0};
	struct context *c = q->context;
	struct pending pending = {.image = image};
	int r;

	/* Without it the image's own pack is used: no reason to fail. */
	how->command = lazy_requests_command(q->o, image, &command) == 0 ? (const char *)command.data : NULL;
	context_add_pending(c, &pending);
	r = ensure_layers(c, image, source, how, listener);
	if (r == 0)
		r = names_put(c->store, &image->name);
	context_remove_pending(c, &pending);
	return r;
}

/* What of an image's command holds for the reads of its container, too. */
static void set_network(struct context *c, struct json_object *o)
{
	uint64_t seconds;
	int offline = 0;

	json_field_bool(o, "offline", &offline);
	atomic_store(&c->offline, offline);
	if (json_field_u64(o, "read_timeout", &seconds) == 0 && seconds > 0 && seconds <= UINT32_MAX)
		atomic_store(&c->read_timeout, (uint32_t)seconds);
}

static int fill_in_background(struct context *c, struct json_object *o, const struct image *image)
{
	static const char *const names[] = {[BACKGROUND_IDLE] = "idle", [BACKGROUND_NOW] = "now", [BACKGROUND_NEVER] = "never"};
	const char *name = "idle";
	uint64_t rate = 0;

	json_field_string(o, "fill", &name);
	json_field_u64(o, "fill_rate", &rate);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0) {
			background_add(c->background, image, (enum background_when)i, rate);
			return 0;
		}
	return fail(EINVAL, "--fill=%s: it is idle, now or never", name);
}

static int op_ensure(const struct operation *q, struct json_object *answer)
{
	struct context *c = q->context;
	_cleanup_(image_free) struct image *image = NULL;
	struct ensure_listener listener = {
		.command_fd = c->setup->command_fd, .connection = q->head->connection, .gone = q->gone};
	const char *until = "image";
	struct transport_counters before, after;
	struct json_object *access = NULL;
	struct image_want want = {0};
	struct ensure_how how = {0};
	struct source *source;
	struct reference ref;
	int progress = 0, r;

	json_field_string(q->o, "until", &until);
	json_field_bool(q->o, "progress", &progress);
	json_field_object(q->o, "access", &access);
	listener.wanted = progress;
	get_how(q->o, &how);
	set_network(c, q->o);
	r = operations_reference(q->o, &ref);
	if (r == 0)
		r = get_want(q->o, &ref, &want);
	if (r == 0)
		r = source_table_get(c->sources, &ref, access, &source);
	if (r < 0)
		return r;
	atomic_store(q->waiting_for, source_name(source));
	want.layers = strcmp(until, "image") == 0;
	transport_counters(c->transport, &before);
	pthread_rwlock_rdlock(&c->ensure_lock);
	r = image_resolve(c, &want, source, &image);
	if (r == 0 && want.layers)
		r = make_image(q, image, want.pull == IMAGE_PULL_NEVER ? NULL : source, &how, &listener);
	pthread_rwlock_unlock(&c->ensure_lock);
	transport_counters(c->transport, &after);
	if (r == 0 && want.layers)
		r = fill_in_background(c, q->o, image);
	if (r < 0)
		return r;
	describe_image(image, want.layers, answer);
	add_number(answer, "fetched_bytes", after.body_bytes - before.body_bytes);
	add_number(answer, "requests", after.requests - before.requests);
	return 0;
}

/* A start that needs no layer made, but perhaps bytes that were evicted. */
static void note_start(const struct operation *q, const struct image *image, const struct ensure_how *how)
{
	_cleanup_(bytes_free) struct bytes command = {0};

	if (how->start && lazy_requests_command(q->o, image, &command) == 0)
		first_touch_begin(q->context->touches, image, (const char *)command.data);
}

/* A warm start is answered by the main loop itself: a thread that is made now may wait for a processor longer than
 * this takes. Whatever is not plainly there is a thread's business, which also says why. */
bool operations_known(const struct operation *q, struct json_object *answer)
{
	struct context *c = q->context;
	_cleanup_(image_free) struct image *image = NULL;
	const char *op = "", *until = "image";
	struct json_object *access = NULL;
	char text[REPORT_TEXT_SIZE];
	struct image_want want = {0};
	struct ensure_how how = {0};
	struct source *source;
	struct reference ref;
	bool known;

	json_field_string(q->o, "op", &op);
	json_field_string(q->o, "until", &until);
	if (strcmp(op, "ensure") != 0 || strcmp(until, "image") != 0)
		return false;
	set_network(c, q->o);
	json_field_object(q->o, "access", &access);
	get_how(q->o, &how);
	report_capture(text);
	known = operations_reference(q->o, &ref) == 0 && get_want(q->o, &ref, &want) == 0 && want.pull != IMAGE_PULL_ALWAYS &&
		source_table_get(c->sources, &ref, access, &source) == 0;
	want.pull = IMAGE_PULL_NEVER;
	known = known && image_resolve(c, &want, NULL, &image) == 0 && ensure_layers_known(c, image, &how);
	if (known)
		note_start(q, image, &how);
	report_capture(NULL);
	if (!known)
		return false;
	describe_image(image, true, answer);
	add_number(answer, "fetched_bytes", 0);
	add_number(answer, "requests", 0);
	return true;
}

static int op_index(const struct operation *q, struct json_object *answer)
{
	struct source *source;
	struct reference ref;
	int r = operations_reference(q->o, &ref);

	if (r == 0)
		r = source_table_get(q->context->sources, &ref, NULL, &source);
	if (r < 0)
		return r;
	atomic_store(q->waiting_for, source_name(source));
	return lazy_requests_index(q->context, q->head->connection, source, q->o, answer);
}

static int op_status(const struct operation *q, struct json_object *answer)
{
	struct context *c = q->context;
	struct transport_counters counters;
	struct json_object *images;
	uint64_t present = 0, spans, bytes;
	char waiting[FILL_WAITING_SIZE];
	int r = keep_list(c, &images);

	json_object_object_add(answer, "held_by", holds_list(c->holds));
	if (r < 0)
		return r;
	for (uint32_t i = number_table_n_layers(c->numbers); i > 0; i--) {
		_cleanup_(layer_store_free) struct layer_store *layer = NULL;
		const char *key;

		if (number_table_layer(c->numbers, i, &key) == 0 && layer_table_get(c->layers, key, &layer) == 0 &&
		    layer_store_is_whole(c->store, layer))
			present += layer_store_bytes_present(layer);
	}
	transport_counters(c->transport, &counters);
	fill_counters(q->fill, &spans, &bytes);
	add_number(answer, "supervisor_pid", (uint64_t)*c->setup->supervisor_pid);
	add_number(answer, "server_pid", (uint64_t)*c->setup->server_pid);
	add_number(answer, "parked_reads", atomic_load(c->setup->parked_reads));
	add_number(answer, "fetcher_pid", (uint64_t)getpid());
	add_text(answer, "channel", "device");
	add_text(answer, "store", c->store->store_path);
	add_text(answer, "run_dir", c->store->run_path);
	add_number(answer, "uptime_seconds", (uint64_t)((clock_ms() - q->started) / 1000));
	json_object_object_add(answer, "images", images);
	add_number(answer, "bytes_present", present);
	add_number(answer, "bytes_fetched", counters.body_bytes);
	add_number(answer, "requests", counters.requests);
	add_number(answer, "spans_filled", spans);
	add_number(answer, "span_bytes_filled", bytes);
	fill_waiting(q->fill, waiting);
	add_text(answer, "waiting", waiting);
	return 0;
}

static int op_hold(struct context *c, struct json_object *o)
{
	const char *name, *image_key = "";
	int on = 0;

	if (json_field_string(o, "name", &name) < 0 || json_field_bool(o, "hold", &on) < 0)
		return fail(EINVAL, "a hold needs a name");
	json_field_string(o, "image_key", &image_key);
	return holds_set(c->holds, name, image_key, on);
}

int operations_run(const struct operation *q, struct json_object *answer)
{
	struct json_object *images;
	struct reference ref;
	const char *op = "";
	int r;

	json_field_string(q->o, "op", &op);
	if (strcmp(op, "ensure") == 0)
		return op_ensure(q, answer);
	if (strcmp(op, "status") == 0)
		return op_status(q, answer);
	if (strcmp(op, "record") == 0)
		return lazy_requests_record(q->context, q->o);
	if (strcmp(op, "record-end") == 0)
		return lazy_requests_record_end(q->context);
	if (strcmp(op, "index") == 0)
		return op_index(q, answer);
	if (strcmp(op, "convert") == 0)
		return convert_image(q->context, q->head->connection, q->o, answer);
	if (strcmp(op, "hold") == 0)
		return op_hold(q->context, q->o);
	if (strcmp(op, "images") == 0) {
		r = keep_list(q->context, &images);
		if (r == 0)
			json_object_object_add(answer, "images", images);
		return r;
	}
	if (strcmp(op, "gc") == 0 || strcmp(op, "gc-dry") == 0)
		return gc_run(q->context, strcmp(op, "gc-dry") == 0, answer);
	if (strcmp(op, "check") == 0 || strcmp(op, "check-dry") == 0)
		return check_run(q->context, q->head->connection, strcmp(op, "check-dry") == 0, answer);
	if (strcmp(op, "evict") != 0 && strcmp(op, "remove") != 0)
		return fail(EINVAL, "the server does not know \"%s\"; is it older than this command? Run "
				    "\"lazyrun stop-server\"", op);
	r = operations_reference(q->o, &ref);
	if (r < 0)
		return r;
	return strcmp(op, "evict") == 0 ? keep_evict(q->context, &ref, answer) :
					  keep_remove(q->context, &ref, q->head->kind == MESSAGE_AGAIN, answer);
}

/* A new fetcher learns what the last one was told: credentials, and what holds the server. */
void operations_replay(struct context *c, struct json_object *o)
{
	struct json_object *access = NULL;
	struct source *source;
	struct reference ref;
	const char *op = "";

	json_field_string(o, "op", &op);
	if (strcmp(op, "hold") == 0)
		op_hold(c, o);
	if (strcmp(op, "ensure") == 0)
		set_network(c, o);
	json_field_object(o, "access", &access);
	if (strcmp(op, "ensure") == 0 && access && operations_reference(o, &ref) == 0)
		source_table_get(c->sources, &ref, access, &source);
}
