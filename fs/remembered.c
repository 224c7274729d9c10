/* A short array, and as many places for the packets themselves. */
#include "fs/remembered.h"

#include <string.h>

#include "base/shared.h"

#define SIZE_MAX_OF_ALL (4u << 20) /* so that the supervisor stays small */

static struct message_head *head_of(struct remembered *m, size_t i)
{
	return (struct message_head *)m->data[m->packets[i].place];
}

void remembered_init(struct remembered *m)
{
	for (unsigned i = 0; i < REMEMBERED_MAX; i++) {
		shared_release(m->data[i], LIMIT_MESSAGE_SIZE);
		m->packets[i] = (struct remembered_packet){.place = i};
	}
	m->n = m->size = 0;
}

static void remove_at(struct remembered *m, size_t i)
{
	struct remembered_packet gone = m->packets[i];

	m->size -= gone.size;
	shared_release(m->data[gone.place], LIMIT_MESSAGE_SIZE);
	m->n--;
	memmove(m->packets + i, m->packets + i + 1, (m->n - i) * sizeof(m->packets[0]));
	m->packets[m->n] = (struct remembered_packet){.place = gone.place};
}

/* Its place in the order, or where a new one stands. */
static size_t find(struct remembered *m, const struct message_head *h)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (memcmp(head_of(m, i)->remember, h->remember, sizeof(h->remember)) == 0)
			break;
	return i;
}

void remembered_put(struct remembered *m, const struct message_head *h, size_t size)
{
	static const uint8_t none[sizeof(h->remember)];
	size_t i = find(m, h);

	if (memcmp(h->remember, none, sizeof(none)) == 0)
		return;
	if (i + 1 == m->n && m->packets[i].size == size) { /* the newest again, mostly: its pages stay */
		memcpy(m->data[m->packets[i].place], h, size);
		m->packets[i].sent = true;
		return;
	}
	remembered_drop(m, h);
	while (m->n == REMEMBERED_MAX || (m->n > 0 && m->size + size > SIZE_MAX_OF_ALL))
		remove_at(m, 0);
	memcpy(m->data[m->packets[m->n].place], h, size);
	m->packets[m->n].size = size;
	m->packets[m->n].sent = true;
	m->n++;
	m->size += size;
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

struct remembered_packet *remembered_next(struct remembered *m, const struct message_head **ret_head)
{
	for (size_t i = 0; i < m->n; i++) {
		struct message_head *h = head_of(m, i);

		if (m->packets[i].sent)
			continue;
		h->kind = MESSAGE_REPLAY;
		h->connection = 0;
		*ret_head = h;
		return &m->packets[i];
	}
	return NULL;
}
