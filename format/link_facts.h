/* link_facts: what of a program or library the kernel and the dynamic linker go through before it runs, and what it names
 * to be loaded besides.
 *
 * Read in three steps, each needs the bytes that the one before has named: who waits for bytes can ask for what is known.
 *
 * Ownership  A plain value; its texts lie in itself, or, from link_table_find(), in the table.
 * Units      Offsets in the file.
 * Errors     -ENOEXEC: neither a program nor a script, or broken. Else the reader's. Bare.
 * Threads    Any.
 * Source     elf.h; "#!": execve(2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/elf.h"

#define LINK_TEXT_SIZE 8192u /* of all names together; of more the first ones count */
#define LINK_NAME_MAX 1023u /* of one */
#define LINK_PATHS 64u
#define LINK_PATH_MAX 255u

struct link_facts {
	bool script;
	const char *interpreter; /* of a script, what stands behind "#!"; NULL: none */
	struct elf_head head;	 /* `loads` and `unwind`; the rest only when read from the file */
	struct elf_dynamic dynamic; /* `tables_end`; the same */
	const char *run_path;	 /* NULL: none */
	const char *needed[ELF_NEEDED];
	size_t n_needed;
	const char *paths[LINK_PATHS]; /* files that it names */
	size_t n_paths;
	char text[LINK_TEXT_SIZE];
	size_t text_size;
};

/* Fills `data` with at most `size` bytes of the file from `off` on, fewer only at its end. */
typedef int (*link_read_fn)(void *opaque, uint64_t off, void *data, size_t size, size_t *ret_size);

int link_facts_head(link_read_fn read, void *opaque, struct link_facts *ret); /* script, interpreter, loads, unwind */
int link_facts_dynamic(link_read_fn read, void *opaque, struct link_facts *f); /* tables_end. -ENOEXEC: linked statically */
int link_facts_names(link_read_fn read, void *opaque, struct link_facts *f);   /* run_path, needed */

/* Once each; false: there is no more room. */
bool link_facts_add_path(struct link_facts *f, const char *path);
