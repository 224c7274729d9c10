/* A list under one lock; opening a layer maps four files and reads none of them whole. */
#include "fetch/layer_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"

struct entry {
	struct entry *next;
	struct layer_store *layer;
};

struct layer_table {
	const struct store *store;
	pthread_mutex_t lock; /* guards first and what hangs on it */
	struct entry *first;
};

int layer_table_new(const struct store *s, struct layer_table **ret)
{
	struct layer_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->store = s;
	pthread_mutex_init(&t->lock, NULL);
	*ret = t;
	return 0;
}

/* The pointer that leads to the entry, or to NULL. The lock is held. */
static struct entry **find(struct layer_table *t, const char *layer_key)
{
	struct entry **at = &t->first;

	while (*at && strcmp(layer_store_key((*at)->layer), layer_key) != 0)
		at = &(*at)->next;
	return at;
}

static struct layer_store *get_open(struct layer_table *t, const char *layer_key)
{
	struct layer_store *found = NULL;
	struct entry *e;

	pthread_mutex_lock(&t->lock);
	e = *find(t, layer_key);
	if (e)
		found = layer_store_again(e->layer);
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* Another thread may have been faster: then its layer counts. */
static int add(struct layer_table *t, struct layer_store **opened, struct layer_store **ret)
{
	struct entry *made = calloc(1, sizeof(*made)), *e;

	if (!made)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	e = *find(t, layer_store_key(*opened));
	if (!e) {
		made->layer = TAKE(*opened);
		made->next = t->first;
		t->first = e = TAKE(made);
	}
	*ret = layer_store_again(e->layer);
	pthread_mutex_unlock(&t->lock);
	free(made);
	return 0;
}

int layer_table_get(struct layer_table *t, const char *layer_key, struct layer_store **ret)
{
	_cleanup_(layer_store_free) struct layer_store *opened = NULL;
	int r;

	if (layer_store_is_bad(t->store, layer_key)) {
		layer_table_drop(t, layer_key);
		return -ENOENT;
	}
	*ret = get_open(t, layer_key);
	if (*ret)
		return 0;
	r = layer_store_open(t->store, layer_key, true, &opened);
	if (r < 0)
		return r == -EBADMSG ? -ENOENT : r;
	return add(t, &opened, ret);
}

int layer_table_is_made(struct layer_table *t, const char *layer_key)
{
	_cleanup_(layer_store_free) struct layer_store *there = NULL;

	if (layer_store_is_lie(t->store, layer_key))
		return fail(EBADMSG, "the table of it that was found beside the image lies: layer %s was not what the image "
				     "says (`lazyrun gc` forgets that)", layer_key);
	return layer_table_get(t, layer_key, &there) == 0 && layer_store_is_whole(t->store, there);
}

void layer_table_drop(struct layer_table *t, const char *layer_key)
{
	struct entry **at, *e;

	pthread_mutex_lock(&t->lock);
	at = find(t, layer_key);
	e = *at;
	if (e)
		*at = e->next;
	pthread_mutex_unlock(&t->lock);
	if (e)
		layer_store_free(&e->layer);
	free(e);
}
