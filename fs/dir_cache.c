/* A hash table whose entries also stand in a ring, newest first. */
#include "fs/dir_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 8192u

struct entry {
	struct entry *chain;	  /* of its bucket */
	struct entry *newer, *older; /* in the ring */
	uint64_t nodeid;
	struct dir_cache_attributes attributes;
	uint32_t n_parts;
	struct tree_part parts[];
};

struct dir_cache {
	pthread_mutex_t lock; /* guards everything below */
	size_t size;
	struct entry *buckets[BUCKETS];
	struct entry ring; /* .older is the newest entry, .newer the oldest; last: it ends in an open array */
};

int dir_cache_new(struct dir_cache **ret)
{
	struct dir_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->ring.newer = c->ring.older = &c->ring;
	*ret = c;
	return 0;
}

static size_t entry_size(uint32_t n_parts)
{
	return sizeof(struct entry) + n_parts * sizeof(struct tree_part);
}

/* The pointer that leads to the entry, or to where it belongs. */
static struct entry **find(struct dir_cache *c, uint64_t nodeid)
{
	uint64_t hash = nodeid * UINT64_C(0x9e3779b97f4a7c15);
	struct entry **at = &c->buckets[hash >> 32 & (BUCKETS - 1)];

	while (*at && (*at)->nodeid != nodeid)
		at = &(*at)->chain;
	return at;
}

static void ring_remove(struct entry *e)
{
	e->newer->older = e->older;
	e->older->newer = e->newer;
}

static void ring_add(struct dir_cache *c, struct entry *e)
{
	e->newer = &c->ring;
	e->older = c->ring.older;
	e->older->newer = e;
	c->ring.older = e;
}

static void drop(struct dir_cache *c, struct entry *e)
{
	struct entry **at = find(c, e->nodeid);

	*at = e->chain;
	ring_remove(e);
	c->size -= entry_size(e->n_parts);
	free(e);
}

void dir_cache_free(struct dir_cache **cache)
{
	struct dir_cache *c = *cache;

	if (!c)
		return;
	while (c->ring.newer != &c->ring)
		drop(c, c->ring.newer);
	pthread_mutex_destroy(&c->lock);
	free(c);
	*cache = NULL;
}

bool dir_cache_get(struct dir_cache *c, uint64_t nodeid, struct tree_dir *ret_dir,
		   struct dir_cache_attributes *ret_attributes)
{
	struct entry *e;

	pthread_mutex_lock(&c->lock);
	e = *find(c, nodeid);
	if (e) {
		ring_remove(e);
		ring_add(c, e);
		ret_dir->n_parts = e->n_parts;
		memcpy(ret_dir->parts, e->parts, e->n_parts * sizeof(e->parts[0]));
		*ret_attributes = e->attributes;
	}
	pthread_mutex_unlock(&c->lock);
	return e;
}

void dir_cache_put(struct dir_cache *c, uint64_t nodeid, const struct tree_dir *dir,
		   struct dir_cache_attributes attributes)
{
	struct entry *e = malloc(entry_size(dir->n_parts)), **at;

	if (!e)
		return;
	e->nodeid = nodeid;
	e->attributes = attributes;
	e->n_parts = dir->n_parts;
	e->chain = NULL;
	memcpy(e->parts, dir->parts, dir->n_parts * sizeof(e->parts[0]));
	pthread_mutex_lock(&c->lock);
	at = find(c, nodeid);
	if (*at) {
		free(e); /* a directory never changes */
	} else {
		*at = e;
		ring_add(c, e);
		c->size += entry_size(e->n_parts);
		while (c->size > DIR_CACHE_SIZE)
			drop(c, c->ring.newer);
	}
	pthread_mutex_unlock(&c->lock);
}
