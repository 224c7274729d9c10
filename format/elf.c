/* Fields are read by their offsets, which differ between the two classes. */
#include "format/elf.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#define N_TABLES 4u

static bool inside(uint64_t size, uint64_t off, uint64_t n)
{
	return off <= size && n <= size - off;
}

static void take_segment(struct elf_head *h, uint32_t type, uint32_t flags, uint64_t off, uint64_t address, uint64_t size)
{
	if (type == PT_INTERP && size > 1 && size <= 4096)
		h->interpreter = (struct elf_range){off, size};
	if (type == PT_DYNAMIC && size <= ELF_DYNAMIC_MAX)
		h->dynamic = (struct elf_range){off, size};
	if (type == PT_LOAD && h->n_loads < ELF_LOADS) {
		h->loads[h->n_loads].address = address;
		h->loads[h->n_loads].off = off;
		h->loads[h->n_loads].writable = flags & PF_W;
		h->loads[h->n_loads++].size = size;
	}
	if (type == PT_GNU_EH_FRAME)
		h->unwind = (struct elf_range){off, size};
}

/* Behind its header come the frames, and the exceptions' tables, to the end of the segment: that is how linkers lay it out. */
static void extend_unwind(struct elf_head *h)
{
	struct elf_range *u = &h->unwind;

	if (u->size == 0)
		return;
	for (size_t i = 0; i < h->n_loads; i++) {
		const uint64_t off = h->loads[i].off, size = h->loads[i].size;

		if (h->loads[i].writable || off > INT64_MAX || size > INT64_MAX || u->off < off || !inside(size, u->off - off, u->size))
			continue;
		u->size = size - (u->off - off);
		return;
	}
	*u = (struct elf_range){0};
}

static int parse_64(const uint8_t *data, size_t size, struct elf_head *h)
{
	Elf64_Ehdr e;

	if (size < sizeof(e))
		return -ENOEXEC;
	memcpy(&e, data, sizeof(e));
	if (le16toh(e.e_phentsize) != sizeof(Elf64_Phdr))
		return -ENOEXEC;
	for (size_t i = 0; i < le16toh(e.e_phnum); i++) {
		uint64_t at = le64toh(e.e_phoff);
		Elf64_Phdr p;

		if (!inside(size, at, (i + 1) * sizeof(p)))
			break;
		memcpy(&p, data + at + i * sizeof(p), sizeof(p));
		take_segment(h, le32toh(p.p_type), le32toh(p.p_flags), le64toh(p.p_offset), le64toh(p.p_vaddr),
			     le64toh(p.p_filesz));
	}
	return 0;
}

static int parse_32(const uint8_t *data, size_t size, struct elf_head *h)
{
	Elf32_Ehdr e;

	if (size < sizeof(e))
		return -ENOEXEC;
	memcpy(&e, data, sizeof(e));
	if (le16toh(e.e_phentsize) != sizeof(Elf32_Phdr))
		return -ENOEXEC;
	for (size_t i = 0; i < le16toh(e.e_phnum); i++) {
		uint64_t at = le32toh(e.e_phoff);
		Elf32_Phdr p;

		if (!inside(size, at, (i + 1) * sizeof(p)))
			break;
		memcpy(&p, data + at + i * sizeof(p), sizeof(p));
		take_segment(h, le32toh(p.p_type), le32toh(p.p_flags), le32toh(p.p_offset), le32toh(p.p_vaddr),
			     le32toh(p.p_filesz));
	}
	return 0;
}

int elf_parse_head(const void *data, size_t size, struct elf_head *ret)
{
	const uint8_t *p = data;
	struct elf_head h = {0};
	int r;

	if (size < EI_NIDENT || memcmp(p, ELFMAG, SELFMAG) != 0 || p[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	h.is_64 = p[EI_CLASS] == ELFCLASS64;
	r = h.is_64 ? parse_64(p, size, &h) : p[EI_CLASS] == ELFCLASS32 ? parse_32(p, size, &h) : -ENOEXEC;
	if (r < 0)
		return r;
	extend_unwind(&h);
	*ret = h;
	return 0;
}

void elf_used(const struct elf_head *h, uint64_t file_size, struct elf_range ret[static 2])
{
	const bool any = h->unwind.size && inside(file_size, h->unwind.off, h->unwind.size);
	const uint64_t from = any ? h->unwind.off : file_size, to = any ? from + h->unwind.size : file_size;

	ret[0] = (struct elf_range){0, from};
	ret[1] = (struct elf_range){to, file_size - to};
}

/* Where in the file an address lies; 0: nowhere. */
static uint64_t file_off(const struct elf_head *h, uint64_t address)
{
	for (size_t i = 0; i < h->n_loads; i++)
		if (address >= h->loads[i].address && address - h->loads[i].address < h->loads[i].size)
			return h->loads[i].off + (address - h->loads[i].address);
	return 0;
}

static void get_entry(const struct elf_head *h, const uint8_t *at, uint64_t *ret_tag, uint64_t *ret_value)
{
	if (h->is_64) {
		Elf64_Dyn d;

		memcpy(&d, at, sizeof(d));
		*ret_tag = le64toh((uint64_t)d.d_tag);
		*ret_value = le64toh(d.d_un.d_val);
	} else {
		Elf32_Dyn d;

		memcpy(&d, at, sizeof(d));
		*ret_tag = le32toh((uint32_t)d.d_tag);
		*ret_value = le32toh(d.d_un.d_val);
	}
}

/* Linkers put all of it before the code. */
static uint64_t tables_end(const struct elf_head *h, const struct elf_range tables[static N_TABLES])
{
	uint64_t end = 0;

	for (size_t i = 0; i < N_TABLES; i++) {
		uint64_t off = tables[i].size ? file_off(h, tables[i].off) : 0;

		if (off && off + tables[i].size > end && tables[i].size <= UINT32_MAX)
			end = off + tables[i].size;
	}
	return end;
}

int elf_parse_dynamic(const struct elf_head *h, const void *data, size_t size, struct elf_dynamic *ret)
{
	static const struct {
		uint64_t address, size;
	} tags[N_TABLES] = {{DT_RELA, DT_RELASZ}, {DT_REL, DT_RELSZ}, {DT_JMPREL, DT_PLTRELSZ}, {DT_STRTAB, DT_STRSZ}};
	const size_t step = h->is_64 ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
	uint64_t strings = 0, rpath = UINT64_MAX, runpath = UINT64_MAX, tag, value;
	struct elf_range tables[N_TABLES] = {0}; /* off: an address */
	struct elf_dynamic d = {0};

	for (size_t at = 0; at + step <= size; at += step) {
		get_entry(h, (const uint8_t *)data + at, &tag, &value);
		if (tag == DT_NULL)
			break;
		if (tag == DT_STRTAB)
			strings = file_off(h, value);
		if (tag == DT_RPATH)
			rpath = value;
		if (tag == DT_RUNPATH)
			runpath = value;
		if (tag == DT_NEEDED && d.n_needed < ELF_NEEDED)
			d.needed[d.n_needed++] = value;
		for (size_t i = 0; i < N_TABLES; i++) {
			tables[i].off = tag == tags[i].address ? value : tables[i].off;
			tables[i].size = tag == tags[i].size ? value : tables[i].size;
		}
	}
	if (runpath == UINT64_MAX)
		runpath = rpath;
	if (strings == 0 || strings > UINT64_MAX / 4)
		return -ENOEXEC;
	for (size_t i = 0; i < d.n_needed; i++) {
		if (d.needed[i] > UINT32_MAX)
			return -ENOEXEC;
		d.needed[i] += strings;
	}
	d.run_path = runpath <= UINT32_MAX ? strings + runpath : 0;
	d.tables_end = tables_end(h, tables);
	*ret = d;
	return 0;
}

struct cache_head {
	char magic[20]; /* with its version */
	uint32_t n, strings_size;
	uint8_t flags, pad[3];
	uint32_t extension, unused[3];
};

struct cache_entry {
	int32_t flags;
	uint32_t key, value, os; /* texts, counted from the head */
	uint64_t hardware;
};

/* A text of the cache that ends inside of it. */
static const char *text_at(const uint8_t *data, size_t size, uint32_t off)
{
	return off < size && memchr(data + off, 0, size - off) ? (const char *)data + off : NULL;
}

const char *elf_cache_find(const void *data, size_t size, const char *name)
{
	static const char magic[] = "glibc-ld.so.cache1.1";
	const uint8_t *p = memmem(data, size, magic, sizeof(magic) - 1); /* an old cache may stand before it */
	struct cache_head h;

	if (!p)
		return NULL;
	size -= (size_t)(p - (const uint8_t *)data);
	if (size < sizeof(h))
		return NULL;
	memcpy(&h, p, sizeof(h));
	for (uint64_t i = 0; i < le32toh(h.n) && inside(size, sizeof(h), (i + 1) * sizeof(struct cache_entry)); i++) {
		struct cache_entry e;
		const char *key;

		memcpy(&e, p + sizeof(h) + i * sizeof(e), sizeof(e));
		key = text_at(p, size, le32toh(e.key));
		if (e.hardware == 0 && key && strcmp(key, name) == 0)
			return text_at(p, size, le32toh(e.value));
	}
	return NULL;
}
