/* layer_files: a layer's files by where they lie in the layer file, and the directories that they are in.
 *
 * Ownership  layer_files_read() fills, layer_files_free() ends; what the others return points into it.
 * Units      Bytes of the layer file.
 * Errors     -EFBIG: more than LAYER_FILES_MAX. -ENOMEM, and those of erofs_read.h. Bare.
 * Threads    The caller's.
 * Source     The layer index; names as layer_files_hash() has them.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "format/erofs_read.h"

#define LAYER_FILES_MAX (512u << 10) /* a layer of more is not looked into */

struct layer_file {
	uint64_t off, size; /* never 0 */
	uint32_t directory;
	uint32_t stem; /* a hash of its name before the first '.' */
	uint32_t parts; /* touched: a bit for each GAP_PART (ahead.c), of a large file for several */
	bool program, library, touched, asked;
};

struct layer_directory {
	uint64_t size; /* of its files */
	uint32_t parent; /* the root's is itself */
	uint32_t name; /* a hash */
	uint32_t n_files, n_touched;
	uint32_t n_children; /* directories in it of which files were touched */
	bool asked, children_asked;
	bool mentioned; /* by the file that is looked at */
};

struct layer_files {
	struct bytes files, directories;
};

int layer_files_read(const struct erofs_read *index, struct layer_files *ret);
void layer_files_free(struct layer_files *t);

size_t layer_files_count(const struct layer_files *t);
size_t layer_files_n_directories(const struct layer_files *t);
struct layer_file *layer_files_at(const struct layer_files *t, size_t i);
struct layer_directory *layer_files_directory(const struct layer_files *t, size_t i);

/* What lies there; of several names of the same body any one; NULL: nothing. */
struct layer_file *layer_files_find(const struct layer_files *t, uint64_t off);

uint32_t layer_files_hash(const void *name, size_t size);
