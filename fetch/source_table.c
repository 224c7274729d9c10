/* A list: a fetcher talks to few repositories. Replaced sources stay for threads that still use them. */
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

static struct entry *find(struct source_table *t, const char *name, const char *access)
{
	struct entry *e;

	pthread_mutex_lock(&t->lock);
	for (e = t->first; e; e = e->next)
		if (strcmp(e->name, name) == 0)
			break;
	if (e && access && strcmp(e->access, access) != 0)
		e = NULL; /* the user logged in anew, or changed a flag */
	pthread_mutex_unlock(&t->lock);
	return e;
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
	struct entry *e;
	int r;

	source_table_name(ref, name, sizeof(name));
	e = find(t, name, text);
	if (e) {
		*ret = e->source;
		return 0;
	}
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
