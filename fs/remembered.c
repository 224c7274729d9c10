/* A short array. */
#include "fs/remembered.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_OF_ALL (4u << 20) /* so that the supervisor stays small */

void remembered_free(struct remembered *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->packets[i].data);
	*m = (struct remembered){0};
}

static void remove_at(struct remembered *m, size_t i)
{
	m->size -= m->packets[i].size;
	free(m->packets[i].data);
	m->n--;
	memmove(m->packets + i, m->packets + i + 1, (m->n - i) * sizeof(m->packets[0]));
}

/* Its place, or where a new one stands. */
static size_t find(const struct remembered *m, const struct message_head *h)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (memcmp(m->packets[i].data->remember, h->remember, sizeof(h->remember)) == 0)
			break;
	return i;
}

int remembered_put(struct remembered *m, const struct message_head *h, size_t size)
{
	static const uint8_t none[sizeof(h->remember)];
	struct message_head *copy;

	if (memcmp(h->remember, none, sizeof(none)) == 0)
		return 0;
	copy = malloc(size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, h, size);
	remembered_drop(m, h);
	while (m->n == REMEMBERED_MAX || (m->n > 0 && m->size + size > SIZE_MAX_OF_ALL))
		remove_at(m, 0);
	m->packets[m->n++] = (struct remembered_packet){copy, size, true};
	m->size += size;
	return 0;
}

void remembered_drop(struct remembered *m, const struct message_head *h)
{
	size_t i = find(m, h);

	if (i < m->n)
		remove_at(m, i);
}

void remembered_all_unsent(struct remembered *m)
{
	for (size_t i = 0; i < m->n; i++)
		m->packets[i].sent = false;
}

struct remembered_packet *remembered_next(struct remembered *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct remembered_packet *p = &m->packets[i];

		if (p->sent)
			continue;
		p->data->kind = MESSAGE_REPLAY;
		p->data->connection = 0;
		return p;
	}
	return NULL;
}
