/* Asks whether it is there, mounts it from elsewhere, or sends it in one piece; a piece that breaks is sent anew. */
#include "fetch/push.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/layout_put.h"
#include "fetch/registry.h"
#include "fetch/retry.h"
#include "fetch/url.h"

#define TIMEOUT_MS 60000u
#define BULK_SIZE (UINT64_C(1) << 20)

struct push { /* one blob */
	struct registry *registry;
	const struct transport_upload *bytes;
	const char *mount_from;
	char text[DIGEST_TEXT_MAX], what[64 + DIGEST_TEXT_MAX];
};

static struct exchange_want want(const struct push *p, const char *method, const char *path)
{
	return (struct exchange_want){
		.path = path,
		.what = p->what,
		.request = {.method = method, .total = TRANSPORT_UNKNOWN, .timeout_ms = TIMEOUT_MS, .fd = -1}};
}

/* 1: it is there. 0: it is not. */
static int is_there(const struct push *p)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	char path[16 + DIGEST_TEXT_MAX];
	struct exchange_want w = want(p, "HEAD", path);
	int r;

	snprintf(path, sizeof(path), "blobs/%s", p->text);
	r = registry_ask(p->registry, &w, &url, &reply);
	if (r < 0)
		return r;
	if (reply.status == 200)
		return reply.length == TRANSPORT_UNKNOWN || reply.length == p->bytes->size;
	/* Without the right to pull, some registries answer 401 or 403 here: the upload says what is wrong. */
	if (reply.status == 404 || reply.status == 401 || reply.status == 403 || reply.status == 405)
		return 0;
	return registry_report(p->registry, &w, url, &reply);
}

/* 1: mounted, it is there. 0: *session is where the bytes go. */
static int begin(const struct push *p, bool mount, char **session)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	_cleanup_(bytes_free) struct bytes path = {0};
	struct exchange_want w;
	int r = bytes_printf(&path, "blobs/uploads/");

	if (r == 0 && mount) {
		r = bytes_printf(&path, "?mount=");
		if (r == 0)
			r = url_encode(&path, p->text);
		if (r == 0)
			r = bytes_printf(&path, "&from=");
		if (r == 0)
			r = url_encode(&path, p->mount_from);
	}
	if (r == 0)
		r = bytes_terminate(&path);
	if (r < 0)
		return r;
	w = want(p, "POST", (const char *)path.data);
	r = registry_ask(p->registry, &w, &url, &reply);
	if (r < 0)
		return r;
	if (mount && reply.status == 201)
		return 1;
	if (mount && reply.status / 100 == 4) /* that repository may not be ours to read */
		return begin(p, false, session);
	if (reply.status / 100 != 2)
		return registry_report(p->registry, &w, url, &reply);
	if (!reply.location)
		return fail(EPROTO, "%s: %s: the registry does not say where to send it (no Location)",
			    registry_name(p->registry), p->what);
	*session = TAKE(reply.location);
	return 0;
}

/* Sends everything to the session's address. 0: it is there. 1: not, but another try is worth it. */
static int send_bytes(const struct push *p, const char *session, struct retry *retry)
{
	static const char *const headers[] = {"Content-Type: application/octet-stream", NULL};
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	_cleanup_(bytes_free) struct bytes to = {0};
	struct exchange_want w = want(p, "PUT", NULL);
	int again, r = bytes_printf(&to, "%s%cdigest=", session, strchr(session, '?') ? '&' : '?');

	if (r == 0)
		r = url_encode(&to, p->text);
	if (r == 0)
		r = bytes_terminate(&to);
	if (r < 0)
		return r;
	w.from_url = (const char *)to.data;
	w.headers = headers;
	w.request.upload = p->bytes;
	w.request.bulk = p->bytes->size >= BULK_SIZE;
	w.request.timeout_ms = 0; /* as long as bytes go */
	r = registry_ask_once(p->registry, &w, &url, &reply);
	if (r < 0 && r != -EIO)
		return r;
	if (r == 0 && reply.status / 100 == 2)
		return 0;
	/* A session that is gone (404, 416) is begun anew like a connection that broke. */
	if (r == 0 && (reply.status == 404 || reply.status == 416))
		reply.status = 503;
	again = retry_wait(retry, &reply, NULL);
	return again != 0 ? again : registry_report(p->registry, &w, url, &reply);
}

static int to_registry(const struct push *p, bool *ret_sent)
{
	bool mount = p->mount_from;
	struct retry retry;

	retry_begin(&retry, false);
	for (;;) {
		_cleanup_(fd_free_memory) char *session = NULL;
		int r = is_there(p); /* also after a break: the answer alone may have been lost */

		if (r == 0) {
			r = begin(p, mount, &session);
			mount = false;
		}
		if (r != 0) {
			*ret_sent = false;
			return r < 0 ? r : 0;
		}
		r = send_bytes(p, session, &retry);
		if (r <= 0) {
			*ret_sent = r == 0;
			return r;
		}
	}
}

int push_blob(struct source *s, const struct digest *digest, const struct transport_upload *bytes,
	      const char *mount_from, bool *ret_sent)
{
	struct push p = {.registry = source_registry(s), .bytes = bytes, .mount_from = mount_from};
	bool sent = false;
	int r;

	digest_text(digest, p.text);
	snprintf(p.what, sizeof(p.what), "sending blob %s", p.text);
	r = p.registry ? to_registry(&p, &sent) : layout_put_blob(source_layout(s), digest, bytes, &sent);
	if (r == 0 && ret_sent)
		*ret_sent = sent;
	return r;
}

static int manifest_to_registry(struct registry *g, const char *name, const char *media_type,
				const struct transport_upload *bytes, bool *ret_subject_known)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	char path[256], what[320], type[LIMIT_MEDIA_TYPE_SIZE + 32];
	const char *headers[] = {type, NULL};
	struct exchange_want w = {.path = path,
				  .what = what,
				  .headers = headers,
				  .request = {.method = "PUT",
					      .upload = bytes,
					      .total = TRANSPORT_UNKNOWN,
					      .timeout_ms = TIMEOUT_MS,
					      .fd = -1}};
	int r;

	snprintf(path, sizeof(path), "manifests/%s", name);
	snprintf(what, sizeof(what), "sending manifest %s", name);
	snprintf(type, sizeof(type), "Content-Type: %s", media_type);
	r = registry_ask(g, &w, &url, &reply);
	if (r < 0)
		return r;
	if (reply.status / 100 != 2)
		return registry_report(g, &w, url, &reply);
	*ret_subject_known = reply.subject_known;
	return 0;
}

int push_manifest(struct source *s, const char *tag, const char *media_type, const void *data, size_t size,
		  struct digest *ret_digest, bool *ret_subject_known)
{
	struct transport_upload bytes = {.data = data, .fd = -1, .size = size};
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	bool known = true;
	int r;

	if (size > LIMIT_MANIFEST_SIZE)
		return fail(EFBIG, "%s: a manifest of %zu bytes, more than the %u allowed", source_name(s), size,
			    LIMIT_MANIFEST_SIZE);
	hash_bytes(data, size, &digest);
	if (source_layout(s))
		r = layout_put_manifest(source_layout(s), tag, media_type, data, size, &digest);
	else
		r = manifest_to_registry(source_registry(s), tag ? tag : digest_text(&digest, text), media_type, &bytes,
					 &known);
	if (r < 0)
		return r;
	if (ret_subject_known)
		*ret_subject_known = known;
	*ret_digest = digest;
	return 0;
}
