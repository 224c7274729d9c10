/* Lists are short: they are kept as the JSON they came in, and the checked descriptors point into it. */
#include "fetch/referrers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/beside.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/layout.h"
#include "fetch/push.h"
#include "fetch/registry.h"
#include "fetch/url.h"

#define TIMEOUT_MS 60000u
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"
#define TAG_TRIES 8u /* others may write the same tag */
#define TAG_WAIT_MS 50u

void referrers_free(struct referrers **r)
{
	if (!*r)
		return;
	free((*r)->list);
	json_field_free(&(*r)->documents);
	free(*r);
	*r = NULL;
}

const char *referrers_annotation(const struct referrer *r, const char *key)
{
	const char *text = "";

	if (r->annotations)
		json_field_string(r->annotations, key, &text);
	return text;
}

/* Checks one descriptor. Digests of algorithms that we do not have are passed over (-EOPNOTSUPP). */
static int take_descriptor(const struct json_object *o, struct referrer *ret)
{
	struct referrer f = {.media_type = "", .artifact_type = ""};
	const char *digest;
	int r = json_field_string(o, "digest", &digest);

	if (r == 0)
		r = digest_parse(digest, strlen(digest), &f.digest);
	if (r == 0)
		r = json_field_u64(o, "size", &f.size);
	if (r < 0)
		return r;
	json_field_string(o, "mediaType", &f.media_type);
	json_field_string(o, "artifactType", &f.artifact_type);
	json_field_object(o, "annotations", &f.annotations);
	*ret = f;
	return 0;
}

static bool wanted(const struct referrer *f, const char *const *types)
{
	if (!types)
		return true;
	for (size_t i = 0; types[i]; i++)
		if (strcmp(types[i], f->artifact_type) == 0)
			return true;
	return false;
}

static bool listed(const struct referrers *l, const struct digest *digest)
{
	for (size_t i = 0; i < l->n; i++)
		if (digest_equal(&l->list[i].digest, digest))
			return true;
	return false;
}

/* `document` (whose reference is taken) holds the texts. */
static int append(struct referrers *to, const struct referrer *f)
{
	struct referrer *more;

	if (listed(to, &f->digest))
		return 0;
	if (to->n >= LIMIT_REFERRERS)
		return -EFBIG;
	more = reallocarray(to->list, to->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	to->list = more;
	to->list[to->n++] = *f;
	return 0;
}

static int keep_document(struct referrers *to, struct json_object **document)
{
	if (!to->documents)
		to->documents = json_object_new_array();
	if (!to->documents || json_object_array_add(to->documents, *document) < 0)
		return -ENOMEM;
	*document = NULL;
	return 0;
}

int referrers_parse(const void *data, size_t size, const char *name, const char *const *types, struct referrers *to)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct json_object *manifests;
	size_t n, before = to->n;
	int r = json_field_parse(data, size, &o);

	if (r == 0)
		r = json_field_array(o, "manifests", &manifests, &n);
	if (r < 0)
		return r == -ENOMEM ? r : fail(EBADMSG, "%s: its list of referrers is no image index", name);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct referrer f;

		r = take_descriptor(json_object_array_get_idx(manifests, i), &f);
		if (r == 0 && wanted(&f, types))
			r = append(to, &f);
		if (r == -EOPNOTSUPP)
			r = 0;
	}
	if (r == 0 && to->n > before)
		r = keep_document(to, &o);
	if (r == 0 || r == -ENOMEM)
		return r;
	to->n = before;
	return r == -EFBIG ? fail(EFBIG, "%s: it lists more than %u referrers", name, LIMIT_REFERRERS) :
			     fail(EBADMSG, "%s: a broken descriptor in its list of referrers", name);
}

/* "sha256-<hex>": the algorithm's name cut to 32, the rest to 64 characters. */
static const char *tag_of(const struct digest *subject, char out[static 128])
{
	char hex[DIGEST_HEX_MAX + 1];

	snprintf(out, 128, "%.32s-%.64s", digest_algorithm_name(subject), digest_hex(subject, hex));
	return out;
}

/* One GET of a list: from `path`, or, when *url is set, from there. The body is there when the status is 200. */
static int ask(struct registry *g, const char *path, const char *what, char **url, struct transport_reply *reply,
	       struct bytes *body)
{
	static const char *const headers[] = {"Accept: " INDEX_TYPE, NULL};
	_cleanup_(fd_free_memory) char *from_url = TAKE(*url);
	struct exchange_want w = {.path = path,
				  .from_url = from_url,
				  .what = what,
				  .headers = headers,
				  .request = {.total = TRANSPORT_UNKNOWN,
					      .timeout_ms = TIMEOUT_MS,
					      .body = body,
					      .body_max = LIMIT_MANIFEST_SIZE,
					      .fd = -1}};
	int r = registry_ask(g, &w, url, reply);

	/* 400 and 405 are what registries without the API say that take its path for something else. */
	if (r < 0 || reply->status == 200 || reply->status == 404 || reply->status == 400 || reply->status == 405)
		return r;
	return registry_report(g, &w, *url, reply);
}

/* Only the registry itself may go on with the list. */
static int check_next(struct registry *g, const char *what, const char *before, const char *next)
{
	struct url_origin a, b;

	if (url_origin_parse(before, &a) < 0 || url_origin_parse(next, &b) < 0 || !url_origin_equal(&a, &b))
		return fail(EPROTO, "%s: %s goes on at another host (%.200s): refused", registry_name(g), what, next);
	return 0;
}

static int from_tag(struct registry *g, const struct digest *subject, const char *const *types, const char *what,
		    struct referrers *to)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	_cleanup_(bytes_free) struct bytes body = {0};
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct json_object *manifests;
	char path[160], tag[128];
	size_t n;
	int r;

	snprintf(path, sizeof(path), "manifests/%s", tag_of(subject, tag));
	r = ask(g, path, what, &url, &reply, &body);
	if (r < 0 || reply.status != 200)
		return r;
	if (json_field_parse(body.data, body.size, &o) < 0 || json_field_array(o, "manifests", &manifests, &n) < 0)
		return 0; /* the tag is something else's: no referrers (distribution-spec) */
	return referrers_parse(body.data, body.size, registry_name(g), types, to);
}

/* *ret_api: the registry has the referrers API; else nothing is in the list. */
static int from_api(struct registry *g, const struct digest *subject, const char *const *types, const char *what,
		    struct referrers *to, bool *ret_api)
{
	_cleanup_(bytes_free) struct bytes path = {0};
	_cleanup_(fd_free_memory) char *at = NULL;
	char text[DIGEST_TEXT_MAX];
	int r = bytes_printf(&path, "referrers/%s", digest_text(subject, text));

	*ret_api = true;
	if (r == 0)
		r = bytes_terminate(&path);
	for (unsigned int page = 0; r == 0; page++) {
		_cleanup_(transport_reply_free) struct transport_reply reply = {0};
		_cleanup_(bytes_free) struct bytes body = {0};

		if (page >= LIMIT_REFERRERS_PAGES)
			return fail(EFBIG, "%s: %s has more than %u pages", registry_name(g), what,
				    LIMIT_REFERRERS_PAGES);
		r = ask(g, (const char *)path.data, what, &at, &reply, &body);
		if (r < 0)
			return r;
		*ret_api = page > 0 || reply.status == 200;
		if (!*ret_api)
			return 0;
		if (reply.status != 200)
			return fail(EPROTO, "%s: %s breaks off after %u pages", registry_name(g), what, page);
		r = referrers_parse(body.data, body.size, registry_name(g), types, to);
		if (r < 0 || !reply.next)
			return r;
		r = check_next(g, what, at, reply.next);
		free(at);
		at = TAKE(reply.next);
	}
	return r;
}

/* The tag, asked beside the API. */
struct tag_asked {
	struct registry *registry;
	const struct digest *subject;
	const char *const *types;
	const char *what;
	struct referrers list;
	struct beside beside;
};

static int ask_tag(void *argument)
{
	struct tag_asked *t = argument;

	return from_tag(t->registry, t->subject, t->types, t->what, &t->list);
}

static int end_tag(struct tag_asked *t, struct referrers *to)
{
	*to = t->list;
	t->list = (struct referrers){0};
	return beside_report(&t->beside);
}

/* A registry that is not known yet is asked both ways at once: most that lack the API would cost one round trip more. */
static int from_both(struct registry *g, const struct digest *subject, const char *const *types, const char *what,
		     struct referrers *to)
{
	_cleanup_(fd_free_memory) struct tag_asked *t = calloc(1, sizeof(*t));
	bool api;
	int r;

	if (!t)
		return -ENOMEM;
	*t = (struct tag_asked){.registry = g, .subject = subject, .types = types, .what = what};
	beside_begin(&t->beside, ask_tag, t);
	r = from_api(g, subject, types, what, to, &api);
	beside_end(&t->beside);
	if (r == 0) {
		if (api)
			registry_set_has_referrers(g);
		else
			r = end_tag(t, to);
	}
	free(t->list.list);
	json_field_free(&t->list.documents);
	return r;
}

/* That a registry lacks the API is asked again with each image: it may have got it. */
static int from_registry(struct registry *g, const struct digest *subject, const char *const *types,
			 struct referrers *to)
{
	char text[DIGEST_TEXT_MAX], what[64 + DIGEST_TEXT_MAX];
	bool api;

	snprintf(what, sizeof(what), "the list of referrers of %s", digest_text(subject, text));
	if (!registry_has_referrers(g))
		return from_both(g, subject, types, what, to);
	return from_api(g, subject, types, what, to, &api);
}

/* What a manifest says of itself, as the descriptor that a list has of it. */
static int describe(const void *data, size_t size, const char *media_type, const char *name, struct digest *ret_subject,
		    struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct json_object *subject, *config, *annotations, *d;
	const char *text, *type = "";
	char digest[DIGEST_TEXT_MAX];
	struct digest is;
	int r = json_field_parse(data, size, &o);

	if (r == 0)
		r = json_field_object(o, "subject", &subject);
	if (r == 0)
		r = json_field_string(subject, "digest", &text);
	if (r == 0)
		r = digest_parse(text, strlen(text), ret_subject);
	if (r < 0)
		return r == -ENOMEM ? r : fail(EBADMSG, "%s: this manifest names no subject", name);
	if (json_field_string(o, "artifactType", &type) < 0 && json_field_object(o, "config", &config) == 0)
		json_field_string(config, "mediaType", &type);
	hash_bytes(data, size, &is);
	d = json_object_new_object();
	if (!d)
		return -ENOMEM;
	json_object_object_add(d, "mediaType", json_object_new_string(media_type));
	json_object_object_add(d, "digest", json_object_new_string(digest_text(&is, digest)));
	json_object_object_add(d, "size", json_object_new_int64((int64_t)size));
	if (*type)
		json_object_object_add(d, "artifactType", json_object_new_string(type));
	if (json_field_object(o, "annotations", &annotations) == 0)
		json_object_object_add(d, "annotations", json_object_get(annotations));
	*ret = d;
	return 0;
}

/* One manifest of a layout: is it a referrer of `subject`? */
static int look_at(struct layout *l, const struct json_object *entry, const struct digest *subject,
		   const char *const *types, struct referrers *to)
{
	_cleanup_(json_field_free) struct json_object *d = NULL;
	_cleanup_(bytes_free) struct bytes body = {0};
	char type[128], text[REPORT_TEXT_SIZE], *before;
	struct digest digest, its_subject;
	const char *name, *media_type = "";
	struct referrer f;
	int r;

	if (json_field_string(entry, "digest", &name) < 0 || digest_parse(name, strlen(name), &digest) < 0)
		return 0;
	json_field_string(entry, "mediaType", &media_type);
	before = report_capture(text); /* what is no referrer is no error */
	r = layout_get_manifest(l, NULL, &digest, &body, type, &digest);
	if (r == 0)
		r = describe(body.data, body.size, media_type, "", &its_subject, &d);
	report_capture_again(before);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (!digest_equal(&its_subject, subject) || take_descriptor(d, &f) < 0)
		return 0;
	if (!wanted(&f, types))
		return 0;
	r = append(to, &f);
	return r < 0 ? r : keep_document(to, &d);
}

static int from_layout(struct layout *l, const struct digest *subject, const char *const *types, struct referrers *to)
{
	_cleanup_(json_field_free) struct json_object *index = NULL;
	struct json_object *manifests;
	size_t n = 0;
	int r = layout_get_index(l, &index);

	if (r == 0)
		r = json_field_array(index, "manifests", &manifests, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = look_at(l, json_object_array_get_idx(manifests, i), subject, types, to);
	return r == -EFBIG ? fail(EFBIG, "%s: more than %u referrers", layout_name(l), LIMIT_REFERRERS) : r;
}

int referrers_get(struct source *s, const struct digest *subject, const char *const *types, struct referrers **ret)
{
	_cleanup_(referrers_free) struct referrers *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	if (source_layout(s))
		r = from_layout(source_layout(s), subject, types, l);
	else
		r = from_registry(source_registry(s), subject, types, l);
	if (r == 0)
		*ret = TAKE(l);
	return r;
}

/* The tag's index as it is now, or a new one. */
static int get_tag(struct registry *g, const char *tag, const char *what, struct json_object **ret)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(fd_free_memory) char *url = NULL;
	_cleanup_(bytes_free) struct bytes body = {0};
	struct json_object *manifests;
	char path[160];
	size_t n;
	int r;

	snprintf(path, sizeof(path), "manifests/%s", tag);
	r = ask(g, path, what, &url, &reply, &body);
	if (r < 0)
		return r;
	if (reply.status != 200) {
		o = json_object_new_object();
		json_object_object_add(o, "schemaVersion", json_object_new_int(2));
		json_object_object_add(o, "mediaType", json_object_new_string(INDEX_TYPE));
		json_object_object_add(o, "manifests", json_object_new_array());
	} else if (json_field_parse(body.data, body.size, &o) < 0 ||
		   json_field_array(o, "manifests", &manifests, &n) < 0) {
		return fail(EBADMSG, "%s: the tag %s, where referrers are listed, is something else; remove it",
			    registry_name(g), tag);
	}
	*ret = TAKE(o);
	return 0;
}

static bool has_entry(const struct json_object *index, const struct json_object *entry)
{
	const char *digest = "", *its;
	struct json_object *manifests;
	size_t n = 0;

	json_field_string(entry, "digest", &digest);
	if (json_field_array(index, "manifests", &manifests, &n) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (json_field_string(json_object_array_get_idx(manifests, i), "digest", &its) == 0 &&
		    strcmp(its, digest) == 0)
			return true;
	return false;
}

/* Read, append, put, and read back: who wrote the tag at the same time may have written over it. */
static int add_to_tag(struct source *s, const struct digest *subject, struct json_object *entry)
{
	struct registry *g = source_registry(s);
	char tag[128], what[192];

	snprintf(what, sizeof(what), "the list of referrers %s", tag_of(subject, tag));
	for (unsigned int n = 0; n < TAG_TRIES; n++) {
		_cleanup_(json_field_free) struct json_object *index = NULL;
		struct json_object *manifests;
		struct digest digest;
		const char *text;
		int r = get_tag(g, tag, what, &index);

		if (r < 0)
			return r;
		if (has_entry(index, entry))
			return 0;
		if (n > 1)
			transport_sleep(NULL, TAG_WAIT_MS << n);
		json_object_object_get_ex(index, "manifests", &manifests);
		if (json_object_array_length(manifests) >= LIMIT_REFERRERS)
			return fail(EFBIG, "%s: %s has %u entries already; remove some", registry_name(g), what,
				    LIMIT_REFERRERS);
		json_object_array_add(manifests, json_object_get(entry));
		text = json_object_to_json_string_ext(index, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
		if (!text)
			return -ENOMEM;
		r = push_manifest(s, tag, INDEX_TYPE, text, strlen(text), &digest, NULL);
		if (r < 0)
			return r;
	}
	return fail(EAGAIN, "%s: %s is written by others at the same time; try again", registry_name(g), what);
}

int referrers_push(struct source *s, const char *media_type, const void *data, size_t size, struct digest *ret_digest)
{
	_cleanup_(json_field_free) struct json_object *entry = NULL;
	struct digest subject, digest;
	bool known = false;
	int r = describe(data, size, media_type, source_name(s), &subject, &entry);

	if (r == 0)
		r = push_manifest(s, NULL, media_type, data, size, &digest, &known);
	if (r == 0 && !known)
		r = add_to_tag(s, &subject, entry);
	if (r == 0)
		*ret_digest = digest;
	return r;
}
