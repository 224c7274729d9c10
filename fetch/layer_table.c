/* A list under one lock; opening a layer maps four files and reads none of them whole. */
#include "fetch/layer_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

struct entry {
	struct entry *next;
	struct layer_store *layer;
	bool dropped;
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

static struct entry *find(struct layer_table *t, const char *layer_key)
{
	for (struct entry *e = t->first; e; e = e->next)
		if (!e->dropped && strcmp(layer_store_key(e->layer), layer_key) == 0)
			return e;
	return NULL;
}

int layer_table_get(struct layer_table *t, const char *layer_key, struct layer_store **ret)
{
	_cleanup_(layer_store_free) struct layer_store *opened = NULL;
	struct entry *e, *made;
	int r;

	if (layer_store_is_bad(t->store, layer_key)) {
		layer_table_drop(t, layer_key);
		return -ENOENT;
	}
	pthread_mutex_lock(&t->lock);
	e = find(t, layer_key);
	pthread_mutex_unlock(&t->lock);
	if (e) {
		*ret = e->layer;
		return 0;
	}
	r = layer_store_open(t->store, layer_key, true, &opened);
	if (r < 0)
		return r == -EBADMSG ? -ENOENT : r;
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	e = find(t, layer_key); /* another thread may have been faster */
	if (!e) {
		made->layer = TAKE(opened);
		made->next = t->first;
		t->first = e = TAKE(made);
	}
	pthread_mutex_unlock(&t->lock);
	free(made);
	*ret = e->layer;
	return 0;
}

void layer_table_drop(struct layer_table *t, const char *layer_key)
{
	struct entry *e;

	pthread_mutex_lock(&t->lock);
	e = find(t, layer_key);
	if (e)
		e->dropped = true;
	pthread_mutex_unlock(&t->lock);
}
