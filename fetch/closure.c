/* A queue of files, in the order in which they are found to be needed; each is asked for as a whole and parsed. */
#include "fetch/closure.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/thread.h"
#include "fetch/layer_links.h"
#include "format/link_table.h"
#include "format/tree.h"

#define PROGRAMS 4u	     /* at a time; of more the linker's own reads say what they need */
#define FILES 128u	     /* of one program */
#define WHOLE_MAX (5u << 20)   /* a larger library is not asked for as a whole, */
#define PROGRAM_MAX (8u << 20) /* nor a larger program, */
#define OPENED_MAX (1u << 20)  /* nor one of these of what is opened later: less of it is touched; */
#define SMALL_MAX (512u << 10)
#define BEGIN_SIZE (128u << 10) /* but its beginning */
#define END_SIZE (192u << 10)	/* and its end, where it says what the linker reads and writes: */
#define PARTS_MAX (16u << 20)	/* symbols and relocations, and data, each at most so much */
#define NAMED_MAX (64u << 10) /* a file of more is not asked for because a program names it */
#define CACHE_MAX (1u << 20) /* ld.so.cache */
#define WAIT_MS 15000	     /* for bytes that are parsed */
#define PATH_SIZE 1024u

struct file {
	uint16_t position; /* of its layer in the image */
	uint64_t off, size;
	char directory[PATH_SIZE]; /* for $ORIGIN */
	bool script_allowed;	   /* what is executed may be "#!" */
};

struct closure {
	struct context *context;
	struct fill *fill;
	char image_key[IMAGE_KEY_SIZE]; /* what starts, */
	char *command, *path;		/* and its program, and where it is looked for; command NULL: */
	uint32_t layer_number;		/* a file of this layer was touched, */
	struct file program;		/* this one */
	uint64_t whole_max;
	struct tree tree;
	struct tree_dir *dir; /* what lookups walk through */
	struct layer_store *layers[LIMIT_LAYERS];
	uint32_t numbers[LIMIT_LAYERS];
	const struct erofs_read *indexes[LIMIT_LAYERS];
	size_t n_layers;
	struct file files[FILES];
	size_t n_files;
	struct bytes cache;
	bool cache_read;
};

static atomic_uint n_running;

static void closure_free(struct closure *l)
{
	for (size_t i = 0; i < l->n_layers; i++)
		layer_store_free(&l->layers[i]);
	bytes_free(&l->cache);
	free(l->command);
	free(l->path);
	free(l->dir);
	free(l);
}

/* The one that starts, or the newest that has the layer: probably that. */
static int open_image(struct closure *l)
{
	const struct number_table *t = l->context->numbers;
	const uint32_t *layers = NULL;
	const char *key;
	size_t n = 0;
	bool found = false;

	for (uint32_t i = number_table_n_images(t); i > 0 && !found; i--) {
		if (number_table_image(t, i, &key, &layers, &n) < 0)
			continue;
		found = l->command && strcmp(key, l->image_key) == 0;
		for (size_t k = 0; !l->command && k < n && !found; k++)
			found = layers[k] == l->layer_number;
	}
	if (!found || n > LIMIT_LAYERS)
		return -ENOENT;
	for (; l->n_layers < n; l->n_layers++) {
		size_t i = l->n_layers;

		if (number_table_layer(t, layers[i], &key) < 0 || layer_table_get(l->context->layers, key, &l->layers[i]) < 0)
			return -ENOENT;
		l->numbers[i] = layers[i];
		l->indexes[i] = layer_store_index(l->layers[i]);
		if (layers[i] == l->layer_number)
			l->program.position = (uint16_t)i;
	}
	tree_init(&l->tree, l->indexes, l->n_layers);
	return 0;
}

static void ask(struct closure *l, uint16_t position, uint64_t off, uint64_t size)
{
	const struct span_table *t = layer_store_spans(l->layers[position]);
	size_t first, last;

	if (size == 0 || span_table_at(t, off, &first) < 0)
		return;
	if (span_table_at(t, off + size - 1, &last) < 0)
		last = span_table_count(t) - 1;
	fill_ahead(l->fill, l->layers[position], l->numbers[position], first, last - first + 1);
}

static void ask_library(struct closure *l, const struct file *f)
{
	if (f->size <= SMALL_MAX) {
		ask(l, f->position, f->off, f->size);
		return;
	}
	ask(l, f->position, f->off, BEGIN_SIZE);
	ask(l, f->position, f->off + f->size - END_SIZE, END_SIZE);
}

static void ask_whole(struct closure *l, const struct file *f)
{
	struct elf_range used[2] = {{0, f->size}};
	struct elf_head h;

	if (layer_links_head(l->layers[f->position], f->off, f->size, &h))
		elf_used(&h, f->size, used);
	for (size_t i = 0; i < 2; i++)
		ask(l, f->position, f->off + used[i].off, used[i].size);
}

/* Of one that is not asked for as a whole, what the linker goes through from end to end. */
static void ask_parts(struct closure *l, const struct file *f, const struct link_facts *k)
{
	const struct elf_head *h = &k->head;

	if (f->size <= SMALL_MAX || k->dynamic.tables_end == 0) /* linked statically: the linker goes through nothing */
		return;
	if (k->dynamic.tables_end <= f->size && k->dynamic.tables_end <= PARTS_MAX)
		ask(l, f->position, f->off, k->dynamic.tables_end);
	for (size_t i = 0; i < h->n_loads; i++)
		if (h->loads[i].writable && h->loads[i].off < f->size && h->loads[i].size <= f->size - h->loads[i].off &&
		    h->loads[i].size <= PARTS_MAX)
			ask(l, f->position, f->off + h->loads[i].off, h->loads[i].size);
}

static void need(struct closure *l, const struct file *f, uint64_t off, uint64_t size)
{
	uint64_t first = (f->off + off) / LAYER_PAGE, last = (f->off + off + size - 1) / LAYER_PAGE;

	fill_need(l->fill, &(struct need){.kind = NEED_PAGES,
					  .number = l->numbers[f->position],
					  .first_page = first,
					  .n_pages = last - first + 1},
		  false);
}

/* Waits for the bytes, at most `size` of them, what the file has. What names further files is wanted before what those
 * files hold, so it is asked for as a reader's. */
static int read_file(struct closure *l, const struct file *f, uint64_t off, void *ret, size_t size, size_t *ret_size)
{
	int64_t begin = clock_ms();
	int r;

	if (off >= f->size)
		return -ENOEXEC;
	*ret_size = f->size - off < size ? (size_t)(f->size - off) : size;
	r = layer_store_read(l->layers[f->position], ret, *ret_size, f->off + off);
	if (r == -EAGAIN)
		need(l, f, off, *ret_size);
	while (r == -EAGAIN) {
		int64_t waited = clock_ms() - begin;
		const struct timespec pause = {.tv_nsec = waited < 500 ? 1000000 : 50000000};

		if (waited > WAIT_MS || atomic_load(&l->context->offline))
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
		r = layer_store_read(l->layers[f->position], ret, *ret_size, f->off + off);
	}
	return r;
}

struct reading {
	struct closure *closure;
	const struct file *file;
};

static int read_for_facts(void *opaque, uint64_t off, void *data, size_t size, size_t *ret_size)
{
	const struct reading *r = opaque;

	return read_file(r->closure, r->file, off, data, size, ret_size);
}

static int find(struct closure *l, const char *path, struct file *ret)
{
	struct tree_node node;
	const char *slash = strrchr(path, '/');
	int r = tree_resolve(&l->tree, path, true, &node, l->dir);

	if (r < 0)
		return r;
	if (!S_ISREG(node.inode.mode) || node.inode.size == 0 || !l->layers[node.position])
		return -ENOENT;
	*ret = (struct file){.position = node.position, .off = node.inode.data_off, .size = node.inode.size};
	snprintf(ret->directory, sizeof(ret->directory), "%.*s", slash ? (int)(slash - path) : 0, path);
	return 0;
}

/* Once each. What is queued will be parsed. */
static void add(struct closure *l, const struct file *f)
{
	for (size_t i = 0; i < l->n_files; i++)
		if (l->files[i].position == f->position && l->files[i].off == f->off)
			return;
	if (l->n_files == FILES)
		return;
	l->files[l->n_files++] = *f;
	ask_library(l, f);
}

static bool add_path(struct closure *l, const char *path)
{
	struct file f;

	if (find(l, path, &f) < 0)
		return false;
	add(l, &f);
	return true;
}

static bool add_in(struct closure *l, const char *directory, size_t size, const char *origin, const char *name)
{
	static const char *const tokens[] = {"$ORIGIN", "${ORIGIN}"};
	char path[2 * PATH_SIZE];

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		size_t n = strlen(tokens[i]);

		if (size >= n && memcmp(directory, tokens[i], n) == 0) {
			snprintf(path, sizeof(path), "%s%.*s/%s", origin, (int)(size - n), directory + n, name);
			return add_path(l, path);
		}
	}
	snprintf(path, sizeof(path), "%.*s/%s", (int)size, directory, name);
	return size > 0 && add_path(l, path);
}

static void read_cache(struct closure *l)
{
	struct file f;
	size_t size;

	l->cache_read = true;
	if (find(l, "/etc/ld.so.cache", &f) < 0 || f.size > CACHE_MAX || bytes_reserve(&l->cache, (size_t)f.size) < 0)
		return;
	if (read_file(l, &f, 0, l->cache.data, (size_t)f.size, &size) == 0)
		l->cache.size = size;
}

static bool add_by_cache(struct closure *l, const char *name)
{
	const char *path;

	if (!l->cache_read)
		read_cache(l);
	path = elf_cache_find(l->cache.data, l->cache.size, name);
	return path && add_path(l, path);
}

/* As the linker looks: RUNPATH, the cache, the usual places. Those first, when it need not be waited for: a library is
 * seldom in two of them. */
static void add_library(struct closure *l, const struct file *f, const char *run_path, const char *name, bool waits)
{
	static const char *const usual[] = {"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib", "/lib/x86_64-linux-gnu",
					    "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"};

	if (strchr(name, '/')) {
		add_path(l, name);
		return;
	}
	for (const char *at = run_path ? run_path : ""; *at;) {
		size_t size = strcspn(at, ":");

		if (add_in(l, at, size, f->directory, name))
			return;
		at += size + (at[size] == ':');
	}
	if (waits && add_by_cache(l, name))
		return;
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (add_in(l, usual[i], strlen(usual[i]), "", name))
			return;
	if (!waits)
		add_by_cache(l, name);
}

/* "#! /usr/bin/env python3" means python3, too. */
static void look_at_script(struct closure *l, const char *interpreter)
{
	static const char *const usual[] = {"/usr/local/bin", "/usr/bin", "/bin"};
	_cleanup_(fd_free_memory) char *line = strdup(interpreter ? interpreter : "");
	char *save = NULL, *program = line ? strtok_r(line, " \t", &save) : NULL;
	char *argument = program ? strtok_r(NULL, " \t", &save) : NULL;
	const char *base = program ? strrchr(program, '/') : NULL;

	if (!program || !add_path(l, program))
		return;
	for (size_t i = 0; argument && base && strcmp(base, "/env") == 0 && i < sizeof(usual) / sizeof(usual[0]); i++)
		if (add_in(l, usual[i], strlen(usual[i]), "", argument))
			return;
}

static void look_at(struct closure *l, const struct file *f)
{
	const struct link_table *t = layer_store_links(l->layers[f->position]);
	struct reading reading = {l, f};
	struct link_facts k;
	struct file linker;
	const bool known = t && link_table_find(t, f->off, &k);

	if (!known && link_facts_head(read_for_facts, &reading, &k) < 0)
		return;
	if (k.script) {
		if (f->script_allowed)
			look_at_script(l, k.interpreter);
		return;
	}
	if (k.interpreter && find(l, k.interpreter, &linker) == 0) {
		if (linker.size <= OPENED_MAX)
			need(l, &linker, 0, linker.size); /* the kernel waits for it already */
		add(l, &linker);
	}
	if (!known && link_facts_dynamic(read_for_facts, &reading, &k) < 0)
		return;
	ask_parts(l, f, &k);
	if (!known)
		(void)link_facts_names(read_for_facts, &reading, &k);
	for (size_t i = 0; i < k.n_needed; i++)
		add_library(l, f, k.run_path, k.needed[i], !known);
}

/* Small files that it names: libc its tables, a server its configuration. */
static void ask_named(struct closure *l, const struct file *f)
{
	const struct link_table *t = layer_store_links(l->layers[f->position]);
	struct link_facts k;
	struct file named;

	if (!t || !link_table_find(t, f->off, &k))
		return;
	for (size_t i = 0; i < k.n_paths; i++)
		if (find(l, k.paths[i], &named) == 0 && named.size <= NAMED_MAX)
			ask(l, named.position, named.off, named.size);
}

/* As a shell does. */
static bool find_command(struct closure *l, struct file *ret)
{
	char path[2 * PATH_SIZE];

	if (strchr(l->command, '/'))
		return find(l, l->command, ret) == 0;
	for (const char *at = l->path; *at;) {
		size_t size = strcspn(at, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)size, at, l->command);
		if (size > 0 && find(l, path, ret) == 0)
			return true;
		at += size + (at[size] == ':');
	}
	return false;
}

/* What the runtime reads of each image, and the program. When its beginning is here it was started before, and what it
 * needs came with that, by a pack perhaps. */
static void add_command(struct closure *l)
{
	static const char *const read[] = {"/etc/passwd", "/etc/group", "/etc/ld.so.cache"};
	struct file f, program;

	if (!find_command(l, &program) || layer_store_present(l->layers[program.position], program.off, 1))
		return;
	for (size_t i = 0; i < sizeof(read) / sizeof(read[0]); i++)
		if (find(l, read[i], &f) == 0 && f.size <= CACHE_MAX)
			ask(l, f.position, f.off, f.size);
	program.script_allowed = true;
	add(l, &program);
}

static void add_program(struct closure *l)
{
	l->files[l->n_files++] = l->program;
	if (l->program.size > l->whole_max)
		ask_library(l, &l->program);
}

static void *run(void *argument)
{
	struct closure *l = argument;

	if (open_image(l) == 0) {
		if (l->command)
			add_command(l);
		else
			add_program(l);
		for (size_t i = 0; i < l->n_files; i++) {
			struct file f = l->files[i];

			look_at(l, &f);
		}
		/* Their code, once all that names further ones was asked for. */
		for (size_t i = 0; i < l->n_files; i++)
			if (l->files[i].size <= (i == 0 && l->command ? PROGRAM_MAX : l->whole_max))
				ask_whole(l, &l->files[i]);
		for (size_t i = 0; i < l->n_files; i++)
			ask_named(l, &l->files[i]);
	}
	closure_free(l);
	atomic_fetch_sub(&n_running, 1);
	return NULL;
}

static void begin(struct closure *l)
{
	bool started = false;

	l->dir = malloc(sizeof(*l->dir));
	if (atomic_fetch_add(&n_running, 1) < PROGRAMS && l->dir)
		started = thread_start_detached(run, l) == 0;
	if (started)
		return;
	atomic_fetch_sub(&n_running, 1);
	closure_free(l);
}

void closure_begin(struct context *c, struct fill *fill, uint32_t layer_number, uint64_t off, uint64_t size, bool library)
{
	struct closure *l = calloc(1, sizeof(*l));

	if (!l)
		return;
	*l = (struct closure){.context = c, .fill = fill, .layer_number = layer_number};
	l->whole_max = library ? OPENED_MAX : WHOLE_MAX;
	l->program = (struct file){.off = off, .size = size, .script_allowed = true};
	begin(l);
}

void closure_begin_command(struct context *c, struct fill *fill, const char *image_key, const char *path, const char *command)
{
	struct closure *l = calloc(1, sizeof(*l));

	if (!l)
		return;
	*l = (struct closure){.context = c, .fill = fill, .whole_max = WHOLE_MAX};
	l->command = strdup(command);
	l->path = strdup(path);
	snprintf(l->image_key, sizeof(l->image_key), "%s", image_key);
	if (l->command && l->path)
		begin(l);
	else
		closure_free(l);
}
