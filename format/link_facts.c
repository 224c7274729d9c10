/* Names are read one by one: of a large library they may lie far apart. */
#include "format/link_facts.h"

#include <errno.h>
#include <string.h>

/* Keeps the first text of `data`; NULL: it has no end, is empty, too long, or there is no room. */
static const char *keep(struct link_facts *f, const char *data, size_t size)
{
	size_t n = strnlen(data, size);
	char *to = f->text + f->text_size;

	if (n == 0 || n == size || n > LINK_NAME_MAX || n >= sizeof(f->text) - f->text_size)
		return NULL;
	memcpy(to, data, n + 1);
	f->text_size += n + 1;
	return to;
}

static int read_name(link_read_fn read, void *opaque, uint64_t off, struct link_facts *f, const char **ret)
{
	char name[LINK_NAME_MAX + 1];
	size_t size = 0;
	int r = read(opaque, off, name, sizeof(name), &size);

	if (r == 0)
		*ret = keep(f, name, size);
	return r;
}

static int take_script(struct link_facts *f, char *head)
{
	head[strcspn(head, "\n")] = '\0';
	f->script = true;
	f->interpreter = keep(f, head + 2, strlen(head + 2) + 1);
	return f->interpreter ? 0 : -ENOEXEC;
}

int link_facts_head(link_read_fn read, void *opaque, struct link_facts *f)
{
	char head[ELF_HEAD_SIZE + 1];
	size_t size = 0;
	int r;

	*f = (struct link_facts){0};
	r = read(opaque, 0, head, ELF_HEAD_SIZE, &size);
	if (r < 0)
		return r;
	head[size] = '\0';
	if (memcmp(head, "#!", 2) == 0)
		return take_script(f, head);
	r = elf_parse_head(head, size, &f->head);
	if (r < 0 || f->head.interpreter.size == 0)
		return r;
	return read_name(read, opaque, f->head.interpreter.off, f, &f->interpreter);
}

int link_facts_dynamic(link_read_fn read, void *opaque, struct link_facts *f)
{
	uint8_t data[ELF_DYNAMIC_MAX];
	size_t size = 0;
	int r;

	if (f->script || f->head.dynamic.size == 0)
		return -ENOEXEC;
	r = read(opaque, f->head.dynamic.off, data, (size_t)f->head.dynamic.size, &size);
	return r < 0 ? r : elf_parse_dynamic(&f->head, data, size, &f->dynamic);
}

int link_facts_names(link_read_fn read, void *opaque, struct link_facts *f)
{
	const char *name;
	int r = 0;

	if (f->dynamic.run_path)
		r = read_name(read, opaque, f->dynamic.run_path, f, &f->run_path);
	for (size_t i = 0; r == 0 && i < f->dynamic.n_needed; i++) {
		name = NULL;
		r = read_name(read, opaque, f->dynamic.needed[i], f, &name);
		if (name)
			f->needed[f->n_needed++] = name;
	}
	return r;
}

bool link_facts_add_path(struct link_facts *f, const char *path)
{
	const char *kept;

	for (size_t i = 0; i < f->n_paths; i++)
		if (strcmp(f->paths[i], path) == 0)
			return true;
	kept = f->n_paths < LINK_PATHS ? keep(f, path, strlen(path) + 1) : NULL;
	if (kept)
		f->paths[f->n_paths++] = kept;
	return kept;
}
