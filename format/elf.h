/* elf: what a program or library needs to be started: its interpreter, the names of its libraries, and where the
 * dynamic linker works.
 *
 * The bytes are hostile. Little-endian files of 32 and 64 bits.
 *
 * Ownership  Plain values.
 * Units      Offsets in the file.
 * Errors     -ENOEXEC: no ELF file of a kind we read, or a broken one. Bare.
 * Threads    Any.
 * Source     System V ABI (gABI), chapter 5; ld.so.cache: glibc's sysdeps/generic/dl-cache.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_HEAD_SIZE 4096u    /* the first bytes of the file: headers are looked for there only */
#define ELF_DYNAMIC_MAX 16384u
#define ELF_LOADS 16u
#define ELF_NEEDED 64u

struct elf_range {
	uint64_t off, size;
};

struct elf_load {
	uint64_t address, off, size;
	bool writable;
};

struct elf_head {
	bool is_64;
	struct elf_range interpreter; /* its path; size 0: none */
	struct elf_range dynamic;     /* size 0: linked statically; at most ELF_DYNAMIC_MAX */
	struct elf_load loads[ELF_LOADS];
	size_t n_loads;
	struct elf_range unwind; /* what only exceptions and debuggers read; size 0: none */
};

int elf_parse_head(const void *data, size_t size, struct elf_head *ret);

/* All of a file of that size but the unwind tables: what is before them, and what is behind. */
void elf_used(const struct elf_head *h, uint64_t file_size, struct elf_range ret[static 2]);

struct elf_dynamic {
	uint64_t needed[ELF_NEEDED]; /* where in the file the names lie, each ended by a NUL */
	size_t n_needed;
	uint64_t run_path; /* RUNPATH, else RPATH; 0: none */
	uint64_t tables_end; /* the file's first bytes, to here: symbols, their names and relocations; 0: none known */
};

/* `data` are the bytes of head->dynamic. */
int elf_parse_dynamic(const struct elf_head *head, const void *data, size_t size, struct elf_dynamic *ret);

/* The path that /etc/ld.so.cache (`data`) has for a library, points into it; NULL: none. */
const char *elf_cache_find(const void *data, size_t size, const char *name);
