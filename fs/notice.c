/* Two threads a notice: one holds what is everybody's, the other one talks to the kernel. */
#include "fs/notice.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "fs/node.h"
#include "fs/readahead.h"

struct notices {
	struct image_views *views;
	const struct number_table *numbers;
	int dev_fd;
	struct control *control;
	atomic_uint n_running;
};

enum kind { IMAGE_REMOVED, ALL_REMOVED, LAYER_EVICTED };

struct notice {
	struct notices *all;
	enum kind kind;
	uint32_t number;
	struct image_view_layer *layer; /* of LAYER_EVICTED */
	int fd;				/* of the telling thread */
};

static int tell(int fd, int code, struct iovec *parts, int n_parts)
{
	struct fuse_out_header h = {.error = code};

	parts[0] = (struct iovec){&h, sizeof(h)};
	for (int i = 0; i < n_parts; i++)
		h.len += (uint32_t)parts[i].iov_len;
	return writev(fd, parts, n_parts) < 0 ? -errno : 0; /* ENOENT: the kernel does not know it */
}

static int expire(const struct notice *n, uint32_t image_number)
{
	const char *key = number_table_image_key(n->all->numbers, image_number);
	struct fuse_notify_inval_entry_out entry = {.parent = NODEID_IMAGES, .flags = FUSE_EXPIRE_ONLY};
	struct iovec parts[3] = {{0}, {&entry, sizeof(entry)}};

	if (!key)
		return 0;
	entry.namelen = (uint32_t)strlen(key);
	parts[2] = (struct iovec){(void *)(uintptr_t)key, entry.namelen + 1};
	return tell(n->fd, FUSE_NOTIFY_INVAL_ENTRY, parts, 3);
}

static int drop_file(const struct notice *n, uint32_t nid)
{
	struct fuse_notify_inval_inode_out inode = {.ino = node_pack_file(n->number, nid)};
	struct iovec parts[2] = {{0}, {&inode, sizeof(inode)}};

	return tell(n->fd, FUSE_NOTIFY_INVAL_INODE, parts, 2);
}

static bool is_dots(const struct erofs_entry *e)
{
	return e->name_size <= 2 && memcmp(e->name, "..", e->name_size) == 0;
}

/* One directory: its files are named, its directories put on the stack. */
static int drop_directory(const struct notice *n, const struct erofs_read *e, uint32_t nid, struct bytes *stack)
{
	struct erofs_inode dir;
	struct erofs_entry entry;
	uint64_t cookie = 0;
	int r = erofs_read_inode(e, nid, &dir);

	while (r == 0 && (r = erofs_read_entry(e, &dir, &cookie, &entry)) > 0) {
		r = 0;
		if (entry.type == DT_REG)
			drop_file(n, entry.nid);
		else if (entry.type == DT_DIR && !is_dots(&entry))
			r = bytes_append(stack, &entry.nid, sizeof(entry.nid));
	}
	return r;
}

/* `left` ends it should a damaged index have directories in a circle. */
static int drop_layer(const struct notice *n, const struct erofs_read *e)
{
	_cleanup_(bytes_free) struct bytes stack = {0};
	uint64_t left = e->n_inodes + 1;
	int r = bytes_append(&stack, &e->root_nid, sizeof(e->root_nid));

	while (r == 0 && stack.size > 0 && left-- > 0) {
		uint32_t nid;

		stack.size -= sizeof(nid);
		memcpy(&nid, stack.data + stack.size, sizeof(nid));
		r = drop_directory(n, e, nid, &stack);
	}
	return r;
}

static int expire_removed(const struct notice *n)
{
	const uint32_t *layers;
	const char *key;
	size_t n_layers;

	for (uint32_t i = number_table_n_images(n->all->numbers); i > 0; i--)
		if (number_table_image(n->all->numbers, i, &key, &layers, &n_layers) == -ENOENT)
			expire(n, i);
	return 0;
}

/* A table of descriptors of this thread's own, with one of the kernel's that no requests go through. */
static int part_from_others(struct notice *n)
{
	uint32_t dev_fd = (uint32_t)n->all->dev_fd;
	int own_fd;

	if (unshare(CLONE_FILES) < 0)
		return fail(errno, "unshare: %s", strerror(errno));
	own_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (own_fd >= 0 && ioctl(own_fd, FUSE_DEV_IOC_CLONE, &dev_fd) < 0)
		fd_close(&own_fd);
	n->fd = own_fd >= 0 ? own_fd : (int)dev_fd;
	if ((n->fd > 3 && close_range(3, (unsigned)n->fd - 1, 0) < 0) || close_range((unsigned)n->fd + 1, ~0u, 0) < 0)
		return fail(errno, "close_range: %s", strerror(errno));
	return 0;
}

static void *give(void *argument)
{
	struct notice *n = argument;
	int r = part_from_others(n);

	if (r < 0)
		return NULL;
	switch (n->kind) {
	case IMAGE_REMOVED:
		r = expire(n, n->number);
		break;
	case ALL_REMOVED:
		r = expire_removed(n);
		break;
	case LAYER_EVICTED:
		r = drop_layer(n, layer_store_index(n->layer->store));
		readahead_forget(n->layer);
		break;
	}
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		report_note("the kernel is not told that image or layer %u is gone: %s", n->number, strerror(-r));
	close(n->fd);
	return NULL;
}

/* The layer's files are everybody's: this thread opens and closes them. */
static void *run(void *argument)
{
	_cleanup_(fd_free_memory) struct notice *n = argument;
	pthread_t thread;
	int r = n->kind == LAYER_EVICTED ? image_view_layer_open(n->all->views, n->number, &n->layer) : 0;

	if (r == 0 && thread_start(&thread, give, n) == 0)
		pthread_join(thread, NULL);
	image_view_layer_close(&n->layer);
	if (n->kind == IMAGE_REMOVED)
		atomic_fetch_add(&n->all->control->n_invalidated, 1);
	if (n->kind == LAYER_EVICTED)
		atomic_fetch_add(&n->all->control->n_dropped, 1);
	atomic_fetch_sub(&n->all->n_running, 1);
	return NULL;
}

static void start(struct notices *all, enum kind kind, uint32_t number)
{
	struct notice *n = malloc(sizeof(*n));

	if (!n)
		return;
	*n = (struct notice){.all = all, .kind = kind, .number = number, .fd = -1};
	atomic_fetch_add(&all->n_running, 1);
	if (thread_start_detached(run, n) < 0) {
		atomic_fetch_sub(&all->n_running, 1);
		free(n);
	}
}

int notice_new(struct image_views *views, const struct number_table *numbers, int dev_fd, struct control *control,
	       struct notices **ret)
{
	struct notices *n = malloc(sizeof(*n));

	if (!n)
		return -ENOMEM;
	*n = (struct notices){.views = views, .numbers = numbers, .dev_fd = dev_fd, .control = control};
	*ret = n;
	return 0;
}

void notice_image_removed(struct notices *n, uint32_t image_number)
{
	start(n, IMAGE_REMOVED, image_number);
}

void notice_all_removed(struct notices *n)
{
	start(n, ALL_REMOVED, 0);
}

void notice_layer_evicted(struct notices *n, uint32_t layer_number)
{
	start(n, LAYER_EVICTED, layer_number);
}

unsigned int notice_running(const struct notices *n)
{
	return atomic_load(&n->n_running);
}
