/* One hash table holds all names of the layer, each under its directory. */
#include "format/layer_tree.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/limits.h"

#define FIRST_BUCKETS 4096u

struct layer_tree *layer_tree_new(void)
{
	_cleanup_(layer_tree_free) struct layer_tree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->n_buckets = FIRST_BUCKETS;
	t->buckets = calloc(t->n_buckets, sizeof(t->buckets[0]));
	t->root = layer_tree_node(t, S_IFDIR | 0755);
	/* The key only spreads names over buckets; nothing that is written depends on it. */
	if (!t->buckets || !t->root || getrandom(t->key, sizeof(t->key), 0) != sizeof(t->key))
		return NULL;
	t->root->dir.parent = t->root;
	t->root->dir.implied = true;
	return TAKE(t);
}

void layer_tree_free(struct layer_tree **t)
{
	if (*t) {
		arena_free(&(*t)->arena);
		free((*t)->buckets);
	}
	free(*t);
	*t = NULL;
}

struct layer_node *layer_tree_node(struct layer_tree *t, uint32_t mode)
{
	struct layer_node *node = arena_alloc(&t->arena, sizeof(*node));

	if (node)
		node->mode = mode;
	return node;
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = v[1] << 13 | v[1] >> 51;
	v[1] ^= v[0];
	v[0] = v[0] << 32 | v[0] >> 32;
	v[2] += v[3];
	v[3] = v[3] << 16 | v[3] >> 48;
	v[3] ^= v[2];
	v[0] += v[3];
	v[3] = v[3] << 21 | v[3] >> 43;
	v[3] ^= v[0];
	v[2] += v[1];
	v[1] = v[1] << 17 | v[1] >> 47;
	v[1] ^= v[2];
	v[2] = v[2] << 32 | v[2] >> 32;
}

/* SipHash-1-3 of the directory's address and the name. */
static uint32_t hash_name(const struct layer_tree *t, const struct layer_node *dir, const char *name, size_t size)
{
	uint64_t v[4] = {t->key[0] ^ 0x736f6d6570736575u, t->key[1] ^ 0x646f72616e646f6du,
			 t->key[0] ^ 0x6c7967656e657261u, t->key[1] ^ 0x7465646279746573u};
	uint64_t word = (uintptr_t)dir;

	for (size_t left = size;; name += 8, left -= 8) {
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
		if (left < 8) {
			word = (uint64_t)size << 56;
			for (size_t i = 0; i < left; i++)
				word |= (uint64_t)(uint8_t)name[i] << 8 * i;
			break;
		}
		memcpy(&word, name, sizeof(word));
	}
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	word = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (uint32_t)(word ^ word >> 32);
}

static struct layer_entry *find(const struct layer_tree *t, const struct layer_node *dir, const char *name,
				size_t size, uint32_t hash)
{
	struct layer_entry *e = t->buckets[hash & (t->n_buckets - 1)];

	while (e && (e->hash != hash || e->parent != dir || e->name_size != size ||
		     memcmp(e->name, name, size) != 0))
		e = e->next_in_bucket;
	return e;
}

struct layer_entry *layer_tree_find(const struct layer_tree *t, const struct layer_node *dir, const char *name,
				    size_t name_size)
{
	return find(t, dir, name, name_size, hash_name(t, dir, name, name_size));
}

static void put(struct layer_entry **buckets, size_t n_buckets, struct layer_entry *e)
{
	struct layer_entry **bucket = &buckets[e->hash & (n_buckets - 1)];

	e->next_in_bucket = *bucket;
	*bucket = e;
}

static bool grow(struct layer_tree *t)
{
	size_t n = t->n_buckets * 2;
	struct layer_entry **buckets = calloc(n, sizeof(buckets[0]));

	if (!buckets)
		return false;
	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct layer_entry *e = t->buckets[i], *next; e; e = next) {
			next = e->next_in_bucket;
			put(buckets, n, e);
		}
	free(t->buckets);
	t->buckets = buckets;
	t->n_buckets = n;
	return true;
}

struct layer_entry *layer_tree_enter(struct layer_tree *t, struct layer_node *dir, const char *name, size_t name_size)
{
	uint32_t hash = hash_name(t, dir, name, name_size);
	struct layer_entry *e = find(t, dir, name, name_size, hash);

	assert(name_size > 0 && name_size <= LIMIT_NAME_SIZE);
	if (e)
		return e;
	if (t->n_entries >= t->n_buckets && !grow(t))
		return NULL;
	e = arena_alloc(&t->arena, sizeof(*e) + name_size);
	if (!e)
		return NULL;
	e->parent = dir;
	e->hash = hash;
	e->name_size = (uint8_t)name_size;
	memcpy(e->name, name, name_size);
	e->next_in_dir = dir->dir.entries;
	dir->dir.entries = e;
	dir->dir.n_entries++;
	t->n_entries++;
	put(t->buckets, t->n_buckets, e);
	return e;
}
