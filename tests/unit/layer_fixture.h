/* layer_fixture: layers made of a table of members, for the tests of builder and tree.
 *
 * Ownership  fixture_free() ends what fixture_build() made.
 * Units      -
 * Errors     As layer_builder gives them.
 * Threads    One.
 * Source     -
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/erofs_read.h"
#include "format/layer_builder.h"

struct fixture {
	void *data;
	size_t size;
	struct erofs_read read;
	uint64_t layer_size;
};

static inline void fixture_free(struct fixture *f)
{
	free(f->data);
	*f = (struct fixture){0};
}

static inline int fixture_finish(struct layer_builder *b, uint64_t tar_size, struct fixture *ret)
{
	uint64_t size;
	int r = layer_builder_finish(b, tar_size, &size, &ret->layer_size);

	if (r < 0)
		return r;
	ret->size = size;
	ret->data = calloc(1, size);
	layer_builder_render(b, ret->data);
	return erofs_read_open(ret->data, ret->size, &ret->read);
}

/* The table ends at a member without a path. */
static inline int fixture_build(const struct tar_member *members, struct fixture *ret)
{
	struct layer_builder *b = NULL;
	int r = layer_builder_new(&b);

	*ret = (struct fixture){0};
	for (; r == 0 && members->path; members++)
		r = layer_builder_add(b, members);
	if (r == 0)
		r = fixture_finish(b, 1 << 20, ret);
	layer_builder_free(&b);
	return r;
}

/* By path from the layer's root; nothing is followed. */
static inline int fixture_find(const struct fixture *f, const char *path, struct erofs_inode *ret)
{
	int r = erofs_read_inode(&f->read, f->read.root_nid, ret);

	while (r == 0 && *path) {
		size_t size = strcspn(path, "/");
		uint32_t nid;

		r = erofs_read_lookup(&f->read, ret, path, size, &nid);
		if (r == 0)
			r = erofs_read_inode(&f->read, nid, ret);
		path += size + (path[size] == '/');
	}
	return r;
}

#define FILE_AT(name, at, length)                                                                  \
	{                                                                                          \
		.type = TAR_FILE, .path = (name), .link = "", .mode = 0644, .size = (length),      \
		.body_off = (at)                                                                   \
	}
#define DIR_AT(name, bits)                                                                         \
	{                                                                                          \
		.type = TAR_DIRECTORY, .path = (name), .link = "", .mode = (bits)                  \
	}
#define EMPTY(name) FILE_AT(name, 0, 0)
#define LINK(name, target)                                                                         \
	{                                                                                          \
		.type = TAR_HARD_LINK, .path = (name), .link = (target), .mode = 0644              \
	}
#define SYMLINK(name, target)                                                                      \
	{                                                                                          \
		.type = TAR_SYMLINK, .path = (name), .link = (target), .mode = 0777                \
	}
