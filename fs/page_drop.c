/* Walks the layer's directories and names each regular file's node to the kernel. */
#include "fs/page_drop.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/report.h"
#include "fs/node.h"

struct drop {
	struct image_views *views;
	struct fuse_session *se;
	uint32_t number;
	atomic_uint *n_done;
};

static bool is_dots(const struct erofs_entry *e)
{
	return e->name_size <= 2 && memcmp(e->name, "..", e->name_size) == 0;
}

/* One directory: its files are named, its directories put on the stack. */
static int drop_directory(const struct drop *d, const struct erofs_read *e, uint32_t nid, struct bytes *stack)
{
	struct erofs_inode dir;
	struct erofs_entry entry;
	uint64_t cookie = 0;
	int r = erofs_read_inode(e, nid, &dir);

	while (r == 0 && (r = erofs_read_entry(e, &dir, &cookie, &entry)) > 0) {
		r = 0;
		if (entry.type == DT_REG)
			fuse_lowlevel_notify_inval_inode(d->se, node_pack_file(d->number, entry.nid), 0, 0);
		else if (entry.type == DT_DIR && !is_dots(&entry))
			r = bytes_append(stack, &entry.nid, sizeof(entry.nid));
	}
	return r;
}

/* `left` ends it should a damaged index have directories in a circle. */
static int drop_layer(const struct drop *d, const struct erofs_read *e)
{
	_cleanup_(bytes_free) struct bytes stack = {0};
	uint64_t left = e->n_inodes + 1;
	int r = bytes_append(&stack, &e->root_nid, sizeof(e->root_nid));

	while (r == 0 && stack.size > 0 && left-- > 0) {
		uint32_t nid;

		stack.size -= sizeof(nid);
		memcpy(&nid, stack.data + stack.size, sizeof(nid));
		r = drop_directory(d, e, nid, &stack);
	}
	return r;
}

static void *run(void *argument)
{
	_cleanup_(fd_free_memory) struct drop *d = argument;
	struct image_view_layer *layer = NULL;
	int r = image_view_layer_open(d->views, d->number, &layer);

	if (r == 0)
		r = drop_layer(d, layer_store_index(layer->store));
	if (r < 0 && r != -ENOENT)
		report_note("pages of evicted layer %u stay in memory: %s", d->number, strerror(-r));
	image_view_layer_close(&layer);
	atomic_fetch_add(d->n_done, 1);
	return NULL;
}

void page_drop_start(struct image_views *views, struct fuse_session *se, uint32_t layer_number, atomic_uint *n_done)
{
	struct drop *d = malloc(sizeof(*d));
	pthread_attr_t attributes;
	pthread_t thread;

	if (!d)
		return;
	*d = (struct drop){views, se, layer_number, n_done};
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, run, d) != 0)
		free(d);
	pthread_attr_destroy(&attributes);
}
