/* One request, its events as progress, its answer checked. */
#include "cli/ensure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/named_paths.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "format/manifest.h"

void ensure_option_specs(struct ensure_options *o, struct option_spec ret[static ENSURE_N_OPTIONS])
{
	const struct option_spec specs[ENSURE_N_OPTIONS] = {
		{"platform", 0, OPTION_TEXT, &o->platform, "OS/ARCH", "another platform than this machine's: linux/arm64"},
		{"pull", 0, OPTION_TEXT, &o->pull, "WHEN", "ask the registry: missing (default), always, never"},
		{"trust", 0, OPTION_TEXT, &o->trust, "WHOM", "whose tables of layers count: repository (default), pinned"},
		{"require-lazy", 0, OPTION_FLAG, &o->require_lazy, NULL, "fail rather than download whole layers first"},
		{"offline", 0, OPTION_FLAG, &o->offline, NULL, "open no connection: what is not here fails at once"},
		{"read-timeout", 0, OPTION_TEXT, &o->read_timeout, "SEC", "how long reads wait for a registry that is away (600)"},
		{"fill", 0, OPTION_TEXT, &o->fill, "WHEN", "bring the rest of a lazy image: idle (default), now, never"},
		{"fill-rate", 0, OPTION_TEXT, &o->fill_rate, "MIB", "no faster than so many MiB a second"},
		{"quiet", 'q', OPTION_FLAG, &o->quiet, NULL, "no progress"},
		{"authfile", 0, OPTION_TEXT, &o->credentials.authfile, "FILE", "credentials, as podman and docker keep them"},
		{"creds", 0, OPTION_TEXT, &o->credentials.creds, "USER:PASS", "credentials for this registry"},
		{"plain-http", 0, OPTION_FLAG, &o->credentials.plain_http, NULL, "speak http, not https, to the registry"},
		{"tls-verify", 0, OPTION_FLAG_OFF, &o->credentials.tls_no_verify, NULL, "take any certificate"},
	};

	memcpy(ret, specs, sizeof(specs));
}

/* FNV-1a with two start values: 128 bits are enough for a key that only its owner's names compete for. */
static uint64_t fnv(uint64_t hash, const char *text)
{
	for (const char *c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	return (hash ^ 0xff) * UINT64_C(0x100000001b3); /* no byte of UTF-8: "a","b" differs from "ab","" */
}

void ensure_remember_key(const struct reference *ref, struct json_object *access, uint8_t ret[static 16])
{
	const char *text = access ? json_object_to_json_string_ext(access, JSON_C_TO_STRING_PLAIN) : "";
	uint64_t halves[2] = {UINT64_C(0xcbf29ce484222325), UINT64_C(0x84222325cbf29ce4)};

	for (size_t i = 0; i < 2; i++) {
		if (ref->kind == REFERENCE_LAYOUT) {
			halves[i] = fnv(fnv(halves[i], "oci:"), ref->path);
		} else {
			halves[i] = fnv(fnv(halves[i], ref->host), ref->repository);
		}
		halves[i] = fnv(halves[i], text ? text : "");
	}
	halves[0] |= 1; /* all zero would mean "do not remember" */
	memcpy(ret, halves, 16);
}

void ensure_result_free(struct ensure_result **r)
{
	if (!*r)
		return;
	for (size_t i = 0; i < (*r)->n_layers; i++) {
		free((*r)->layers[i].media_type);
		free((*r)->layers[i].key);
		free((*r)->layers[i].from);
	}
	free((*r)->layers);
	free((*r)->image_key);
	client_free(&(*r)->client);
	free(*r);
	*r = NULL;
}

static int add_text(struct json_object *o, const char *key, const char *text)
{
	return text && json_object_object_add(o, key, json_object_new_string(text)) < 0 ? -ENOMEM : 0;
}

static int check_pull(const char *pull)
{
	if (!pull || strcmp(pull, "missing") == 0 || strcmp(pull, "always") == 0 || strcmp(pull, "never") == 0)
		return 0;
	return fail(EINVAL, "--pull=%s: it is missing, always or never", pull);
}

static int check_trust(const char *trust)
{
	if (!trust || strcmp(trust, "repository") == 0 || strcmp(trust, "pinned") == 0)
		return 0;
	return fail(EINVAL, "--trust=%s: it is repository (who may push the image may push a table of its layers) or "
			    "pinned (nothing but what the manifest names by digest)", trust);
}

static int add_read_timeout(struct json_object *o, const char *text)
{
	char *end;
	long n;

	if (!text)
		return 0;
	n = strtol(text, &end, 10);
	if (*end || end == text || n < 1 || n > 7 * 86400)
		return fail(EINVAL, "--read-timeout=%s: it is a number of seconds, at most a week", text);
	return json_object_object_add(o, "read_timeout", json_object_new_int64(n)) < 0 ? -ENOMEM : 0;
}

static int add_fill(struct json_object *o, const struct ensure_options *options)
{
	char *end = NULL;
	double mib;

	if (options->fill && strcmp(options->fill, "idle") != 0 && strcmp(options->fill, "now") != 0 &&
	    strcmp(options->fill, "never") != 0)
		return fail(EINVAL, "--fill=%s: it is idle (when no reader waits), now (beside them) or never", options->fill);
	if (add_text(o, "fill", options->fill) < 0)
		return -ENOMEM;
	if (!options->fill_rate)
		return 0;
	mib = strtod(options->fill_rate, &end);
	if (*end || end == options->fill_rate || !(mib > 0 && mib <= 1e6))
		return fail(EINVAL, "--fill-rate=%s: it is a number of MiB a second", options->fill_rate);
	return json_object_object_add(o, "fill_rate", json_object_new_int64((int64_t)(mib * (1 << 20)) + 1)) < 0 ? -ENOMEM : 0;
}

static int add_flag(struct json_object *o, const char *key, bool on)
{
	return on && json_object_object_add(o, key, json_object_new_boolean(1)) < 0 ? -ENOMEM : 0;
}

/* What will run, as far as the command line says: the start pack is chosen by it. */
static int add_command(struct json_object *o, const struct ensure_options *options)
{
	struct json_object *args;
	int r = add_text(o, "entrypoint", options->entrypoint);

	if (r < 0 || !options->command || !options->command[0])
		return r;
	args = json_object_new_array();
	for (char *const *a = options->command; a && *a && r == 0; a++)
		r = json_object_array_add(args, json_object_new_string(*a)) < 0 ? -ENOMEM : 0;
	if (json_object_object_add(o, "args", args) < 0) {
		json_field_free(&args);
		return -ENOMEM;
	}
	return r;
}

/* What the fetcher has to read for it: the layout, CA file and certificates. */
static int name_paths(const struct store *s, const struct reference *ref, struct json_object *request)
{
	static const char *const keys[] = {"ca_file", "certs_dir"};
	struct json_object *access = NULL;
	const char *path;
	int r = ref->kind == REFERENCE_LAYOUT ? named_paths_add(s->run_fd, ref->path) : 0;

	json_field_object(request, "access", &access);
	for (size_t i = 0; r == 0 && access && i < sizeof(keys) / sizeof(keys[0]); i++)
		if (json_field_string(access, keys[i], &path) == 0)
			r = named_paths_add(s->run_fd, path);
	return r;
}

static int make_request(const struct reference *ref, const struct ensure_options *options,
			enum ensure_until until, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	struct json_object *access = NULL;
	char text[LIMIT_PATH_SIZE + 512];
	struct platform platform;
	int r = check_pull(options->pull);

	if (r == 0 && options->offline && options->pull && strcmp(options->pull, "always") == 0)
		r = fail(EINVAL, "--offline and --pull=always exclude each other");
	if (r == 0)
		r = check_trust(options->trust);
	if (r == 0 && options->platform)
		r = platform_parse(options->platform, &platform);
	if (r < 0)
		return r;
	if (!o || add_text(o, "op", "ensure") < 0 || add_text(o, "reference", reference_text(ref, text)) < 0 ||
	    add_text(o, "platform", options->platform) < 0 ||
	    add_text(o, "pull", options->offline ? "never" : options->pull ? options->pull : "missing") < 0 ||
	    add_flag(o, "offline", options->offline) < 0 ||
	    add_text(o, "until", until == ENSURE_IMAGE ? "image" : "manifest") < 0 ||
	    add_text(o, "trust", options->trust) < 0 || add_flag(o, "require_lazy", options->require_lazy) < 0 ||
	    add_flag(o, "start", options->start) < 0 || add_flag(o, "whole", options->whole) < 0 || add_command(o, options) < 0)
		return -ENOMEM;
	r = add_read_timeout(o, options->read_timeout);
	if (r == 0)
		r = add_fill(o, options);
	if (r < 0)
		return r;
	/* Always: without events a long download would look like a server that hangs. */
	if (json_object_object_add(o, "progress", json_object_new_boolean(1)) < 0)
		return -ENOMEM;
	r = credentials_access(ref, &options->credentials, &access);
	if (r < 0)
		return r;
	if (json_object_object_add(o, "access", access) < 0) {
		json_field_free(&access);
		return -ENOMEM;
	}
	*ret = TAKE(o);
	return 0;
}

static void show_event(struct progress *p, struct json_object *event)
{
	static const char *const states[] = {"waiting", "streaming", "done", "present"};
	struct progress_event e = {0};
	const char *state;
	uint64_t layer, layers;

	if (json_field_string(event, "state", &state) < 0 || json_field_u64(event, "layer", &layer) < 0 ||
	    json_field_u64(event, "layers", &layers) < 0 || json_field_u64(event, "done", &e.done) < 0 ||
	    json_field_u64(event, "total", &e.total) < 0 || json_field_string(event, "digest", &e.digest) < 0)
		return; /* another event than ours: progress is nothing to fail for */
	e.layer = layer;
	e.n_layers = layers;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (strcmp(states[i], state) != 0)
			continue;
		e.state = (enum progress_state)i;
		(void)progress_update(p, &e);
	}
}

/* Bars must be gone before an error is written, or they would be cleared together. */
static int receive_below_bars(struct client *c, struct progress **p, struct json_object **ret)
{
	char text[REPORT_TEXT_SIZE];
	int r;

	report_capture(text);
	r = client_receive(c, ret);
	report_capture(NULL);
	if (r >= 0)
		return r;
	progress_free(p);
	return text[0] ? fail(-r, "%s", text) : r;
}

static int wait_for_answer(struct client *c, const struct ensure_options *options, struct json_object **ret)
{
	_cleanup_(progress_free) struct progress *p = NULL;
	enum progress_mode mode = progress_mode_of_stderr(options->quiet, options->lines);
	int r = progress_new(mode, &p);

	while (r == 0) {
		struct json_object *o = NULL;

		r = mode == PROGRESS_BARS ? receive_below_bars(c, &p, &o) : client_receive(c, &o);
		if (r < 0)
			return r;
		if (r == 0) {
			*ret = o;
			return 0;
		}
		if (o)
			show_event(p, o);
		json_field_free(&o);
		r = 0;
	}
	return r;
}

static int wrong_answer(const char *field)
{
	return fail(EPROTO, "the server's answer has no usable \"%s\": is it of another version? End it with `lazyrun "
			    "stop-server`", field);
}

static int get_digest(struct json_object *o, const char *key, bool required, struct digest *ret)
{
	const char *text;
	int r = json_field_string(o, key, &text);

	if (r == 0 && !*text)
		r = -ENOENT;
	if (r == -ENOENT && !required)
		return 0;
	if (r < 0 || digest_parse(text, strlen(text), ret) < 0)
		return wrong_answer(key);
	return 0;
}

/* A text that becomes one component of a path. */
static int get_name(struct json_object *o, const char *key, bool required, char **ret)
{
	const char *text = "";
	int r = json_field_string(o, key, &text);

	if (r == -ENOENT && !required)
		text = "";
	else if (r < 0 || (required && !*text))
		return wrong_answer(key);
	if (strlen(text) > LIMIT_NAME_SIZE || strchr(text, '/') || text[0] == '.')
		return wrong_answer(key);
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int take_layer(struct json_object *o, bool image, struct ensure_layer *l)
{
	const char *media_type = "";
	int r = get_digest(o, "digest", true, &l->digest);

	if (r == 0)
		r = get_digest(o, "diff_id", image, &l->diff_id);
	if (r == 0)
		r = get_name(o, "key", image, &l->key);
	if (r == 0)
		r = get_name(o, "from", false, &l->from);
	if (r < 0)
		return r;
	if (json_field_u64(o, "size", &l->size) < 0)
		return wrong_answer("size");
	(void)json_field_string(o, "media_type", &media_type);
	l->media_type = strdup(media_type);
	return l->media_type ? 0 : -ENOMEM;
}

static int take_answer(struct json_object *o, bool image, struct ensure_result *result)
{
	struct json_object *layers;
	const char *text;
	size_t n;
	int r;

	if (json_field_string(o, "reference", &text) == 0) {
		r = reference_parse(text, &result->reference);
		if (r < 0)
			return r;
	}
	r = get_digest(o, "manifest_digest", true, &result->manifest_digest);
	if (r == 0)
		r = get_digest(o, "config_digest", true, &result->config_digest);
	if (r == 0)
		r = get_name(o, "image_key", image, &result->image_key);
	if (r < 0)
		return r;
	(void)json_field_u64(o, "image_number", &result->image_number);
	(void)json_field_u64(o, "fetched_bytes", &result->fetched_bytes);
	(void)json_field_u64(o, "requests", &result->requests);
	if (json_field_array(o, "layers", &layers, &n) < 0 || n > LIMIT_LAYERS)
		return wrong_answer("layers");
	result->layers = calloc(n ? n : 1, sizeof(*result->layers));
	if (!result->layers)
		return -ENOMEM;
	for (result->n_layers = 0; result->n_layers < n;) {
		struct ensure_layer *l = &result->layers[result->n_layers++];

		r = take_layer(json_object_array_get_idx(layers, result->n_layers - 1), image, l);
		if (r < 0)
			return r;
	}
	return 0;
}

int ensure_begin(const struct store *s, const struct ensure_options *options, enum ensure_until until,
		 struct ensure_result **ret)
{
	_cleanup_(ensure_result_free) struct ensure_result *result = calloc(1, sizeof(*result));
	_cleanup_(json_field_free) struct json_object *request = NULL;
	struct json_object *access = NULL;
	uint8_t remember[16];
	int timeout, r;

	if (!result)
		return -ENOMEM;
	r = reference_parse(options->image, &result->reference);
	if (r == 0)
		r = make_request(&result->reference, options, until, &request);
	if (r == 0)
		r = name_paths(s, &result->reference, request);
	if (r == 0)
		r = session_timeout(&timeout);
	if (r == 0)
		r = client_open(s, timeout, &result->client);
	if (r < 0)
		return r;
	json_field_object(request, "access", &access);
	ensure_remember_key(&result->reference, access, remember);
	r = client_send(result->client, request, remember);
	if (r < 0)
		return r;
	*ret = TAKE(result);
	return 0;
}

int ensure_finish(const struct ensure_options *options, enum ensure_until until, struct ensure_result *result)
{
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	int r = wait_for_answer(result->client, options, &answer);

	return r < 0 ? r : take_answer(answer, until == ENSURE_IMAGE, result);
}

int ensure_image(const struct store *s, const struct ensure_options *options, enum ensure_until until,
		 struct ensure_result **ret)
{
	_cleanup_(ensure_result_free) struct ensure_result *result = NULL;
	int r = ensure_begin(s, options, until, &result);

	if (r == 0)
		r = ensure_finish(options, until, result);
	if (r < 0)
		return r;
	*ret = TAKE(result);
	return 0;
}

int ensure_read_blob(const struct store *s, const struct digest *d, size_t max, struct bytes *ret)
{
	char hex[DIGEST_HEX_MAX + 1], text[DIGEST_TEXT_MAX];
	int r;

	if (d->algorithm != DIGEST_SHA256)
		return fail(EOPNOTSUPP, "blob %s: the store keeps sha256 only", digest_text(d, text));
	r = fd_read_file(s->blobs_fd, digest_hex(d, hex), max, ret);
	if (r < 0)
		return fail(-r, "%s/blobs/sha256/%s cannot be read: %s; `lazyrun pull --pull=always` fetches it again",
			    s->store_path, hex, strerror(-r));
	return 0;
}
