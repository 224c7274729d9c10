/* The two kinds of source behind one set of calls. */
#include "fetch/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"
#include "fetch/download.h"
#include "fetch/layout.h"
#include "fetch/registry.h"

struct source {
	struct registry *registry; /* one of the two */
	struct layout *layout;
};

int source_open(struct transport *t, const struct reference *ref, struct json_object *access,
		struct source **ret)
{
	_cleanup_(source_free) struct source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	if (ref->kind == REFERENCE_LAYOUT)
		r = layout_open(ref->path, &s->layout);
	else
		r = registry_open(t, ref, access, &s->registry);
	if (r == 0)
		*ret = TAKE(s);
	return r;
}

void source_free(struct source **s)
{
	if (!*s)
		return;
	registry_free(&(*s)->registry);
	layout_free(&(*s)->layout);
	free(*s);
	*s = NULL;
}

const char *source_name(const struct source *s)
{
	return s->layout ? layout_name(s->layout) : registry_name(s->registry);
}

struct registry *source_registry(const struct source *s)
{
	return s->registry;
}

struct layout *source_layout(const struct source *s)
{
	return s->layout;
}

int source_get_manifest(struct source *s, const char *tag, const struct digest *digest,
			struct bytes *ret, char ret_content_type[static 128],
			struct digest *ret_digest)
{
	if (s->layout)
		return layout_get_manifest(s->layout, tag, digest, ret, ret_content_type,
					   ret_digest);
	return registry_get_manifest(s->registry, tag, digest, ret, ret_content_type, ret_digest);
}

int source_get_blob(struct source *s, const struct descriptor *d, size_t max, struct bytes *ret)
{
	if (s->layout)
		return layout_get_blob(s->layout, d, max, ret);
	return registry_get_blob(s->registry, d, max, ret);
}

static int layout_range(struct source *s, const struct descriptor *d, uint64_t off, size_t size, void *out)
{
	_cleanup_(fd_close) int fd = -1;
	int r = layout_open_blob(s->layout, d, &fd);

	if (r < 0)
		return r;
	if (off > d->size || size > d->size - off)
		return fail(EINVAL, "%s: a blob has no bytes at %" PRIu64, source_name(s), off);
	r = fd_pread_full(fd, out, size, off);
	if (r < 0)
		return fail(-r, "%s: reading a blob: %s", source_name(s), strerror(-r));
	return 0;
}

int source_get_range(struct source *s, const struct descriptor *d, uint64_t off, size_t size, bool once,
		     const struct transport_follow *follow, void *out)
{
	int r;

	if (!s->layout)
		return registry_get_range(s->registry, d, off, size, once ? REGISTRY_ONCE : REGISTRY_WAIT, follow, out);
	r = layout_range(s, d, off, size, out);
	if (r == 0 && follow)
		follow->arrived(follow->opaque, size);
	return r;
}

bool source_is_down(const struct source *s)
{
	return s->registry && registry_is_down(s->registry);
}

int64_t source_worked(const struct source *s)
{
	return s->registry ? registry_worked(s->registry) : 0;
}

int source_download(struct source *s, const struct descriptor *d, int part_fd, uint64_t from,
		    struct download **ret)
{
	int fd, r;

	if (!s->layout)
		return download_start(s->registry, d, part_fd, from, ret);
	r = layout_open_blob(s->layout, d, &fd);
	if (r < 0)
		return r;
	r = download_complete(fd, d->size, ret);
	if (r < 0)
		fd_close(&fd);
	return r;
}
