/* A short list. */
#include "fetch/holds.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

struct hold {
	struct hold *next;
	char *name, *image_key;
};

struct holds {
	pthread_mutex_t lock; /* guards first */
	struct hold *first;
};

int holds_new(struct holds **ret)
{
	struct holds *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	*ret = h;
	return 0;
}

static void hold_free(struct hold **hold)
{
	if (*hold) {
		free((*hold)->name);
		free((*hold)->image_key);
	}
	free(*hold);
	*hold = NULL;
}

static void remove_hold(struct holds *h, const char *name)
{
	for (struct hold **at = &h->first; *at; at = &(*at)->next)
		if (strcmp((*at)->name, name) == 0) {
			struct hold *gone = *at;

			*at = gone->next;
			hold_free(&gone);
			return;
		}
}

int holds_set(struct holds *h, const char *name, const char *image_key, bool on)
{
	_cleanup_(hold_free) struct hold *made = NULL;

	if (on) {
		made = calloc(1, sizeof(*made));
		if (!made || !(made->name = strdup(name)) || !(made->image_key = strdup(image_key)))
			return -ENOMEM;
	}
	pthread_mutex_lock(&h->lock);
	remove_hold(h, name);
	if (on) {
		made->next = h->first;
		h->first = TAKE(made);
	}
	pthread_mutex_unlock(&h->lock);
	return 0;
}

bool holds_get(struct holds *h, size_t i, char *ret_key, size_t key_size, char *ret_name, size_t name_size)
{
	const struct hold *at;

	pthread_mutex_lock(&h->lock);
	for (at = h->first; at && i > 0; i--)
		at = at->next;
	if (at) {
		snprintf(ret_key, key_size, "%s", at->image_key);
		snprintf(ret_name, name_size, "%s", at->name);
	}
	pthread_mutex_unlock(&h->lock);
	return at != NULL;
}

bool holds_any(struct holds *h)
{
	bool any;

	pthread_mutex_lock(&h->lock);
	any = h->first != NULL;
	pthread_mutex_unlock(&h->lock);
	return any;
}

struct json_object *holds_list(struct holds *h)
{
	struct json_object *list = json_object_new_array();

	pthread_mutex_lock(&h->lock);
	for (const struct hold *at = h->first; at; at = at->next)
		json_object_array_add(list, json_object_new_string(at->name));
	pthread_mutex_unlock(&h->lock);
	return list;
}
