/* A list: a fetcher talks to few repositories. Nothing leaves it: threads may use a source at any time. */
#include "fetch/source_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

struct entry {
	struct entry *next;
	struct source *source;
	char *name;
	char *access; /* its JSON text; "" for anonymous */
};

struct source_table {
	struct transport *transport;
	pthread_mutex_t lock; /* guards first */
	struct entry *first;  /* newest first */
};

int source_table_new(struct transport *t, struct source_table **ret)
{
	struct source_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	table->transport = t;
	pthread_mutex_init(&table->lock, NULL);
	*ret = table;
	return 0;
}

void source_table_name(const struct reference *ref, char *out, size_t size)
{
	if (ref->kind == REFERENCE_LAYOUT)
		snprintf(out, size, "oci:%s", ref->path);
	else
		snprintf(out, size, "%s/%s", ref->host, ref->repository);
}

/* The entry becomes the newest. The lock is held. */
static void move_first(struct source_table *t, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	e->next = t->first;
	t->first = e;
}

/* The newest of this name; or the one with this access, which a command gave again. */
static struct source *find(struct source_table *t, const char *name, const char *access)
{
	struct source *found = NULL;

	pthread_mutex_lock(&t->lock);
	for (struct entry **at = &t->first; *at && !found; at = &(*at)->next)
		if (strcmp((*at)->name, name) == 0 && (!access || strcmp((*at)->access, access) == 0)) {
			found = (*at)->source;
			move_first(t, at);
			break;
		}
	pthread_mutex_unlock(&t->lock);
	return found;
}

static void entry_free(struct entry **e)
{
	if (*e) {
		source_free(&(*e)->source);
		free((*e)->name);
		free((*e)->access);
	}
	free(*e);
	*e = NULL;
}

int source_table_get(struct source_table *t, const struct reference *ref, struct json_object *access,
		     struct source **ret)
{
	_cleanup_(entry_free) struct entry *made = NULL;
	char name[LIMIT_PATH_SIZE + 512];
	const char *text = access ? json_object_to_json_string_ext(access, JSON_C_TO_STRING_PLAIN) : NULL;
	int r;

	source_table_name(ref, name, sizeof(name));
	*ret = find(t, name, text);
	if (*ret)
		return 0;
	made = calloc(1, sizeof(*made));
	if (!made || !(made->name = strdup(name)) || !(made->access = strdup(text ? text : "")))
		return -ENOMEM;
	r = source_open(t->transport, ref, access, &made->source);
	if (r < 0)
		return r;
	*ret = made->source;
	pthread_mutex_lock(&t->lock);
	made->next = t->first;
	t->first = TAKE(made);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/* What worked last is first; of those that never did, the newest. */
size_t source_table_all(struct source_table *t, const struct reference *ref, struct source *ret[static SOURCE_TABLE_ALL])
{
	char name[LIMIT_PATH_SIZE + 512];
	size_t n = 0;

	source_table_name(ref, name, sizeof(name));
	pthread_mutex_lock(&t->lock);
	for (struct entry *e = t->first; e; e = e->next) {
		size_t at = n;

		if (strcmp(e->name, name) != 0)
			continue;
		while (at > 0 && source_worked(ret[at - 1]) < source_worked(e->source))
			at--;
		if (at == SOURCE_TABLE_ALL)
			continue;
		n += n < SOURCE_TABLE_ALL;
		memmove(ret + at + 1, ret + at, (n - at - 1) * sizeof(*ret));
		ret[at] = e->source;
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}
