/* toc_write: writes the table of contents that toc.h reads, and the tar-split stream of zstd:chunked.
 *
 * Ownership  toc_write_free() ends what was begun; texts grow in struct toc_write.
 * Units      Bytes.
 * Errors     -EOPNOTSUPP: JSON cannot have it (a name that is not UTF-8, a year past 9999). -EFBIG: a limit. -ENOMEM.
 *            All bare.
 * Threads    One thread at a time.
 * Source     toc.h; tar-split: tar/storage/entry.go (JSON lines; a file's payload is its CRC-64/ISO, big endian).
 */
#pragma once

#include <stdint.h>

#include <json-c/json_object.h>

#include "base/bytes.h"
#include "format/toc.h"

struct toc_write {
	struct bytes toc;   /* entries, with commas between them */
	struct bytes split; /* lines */
	uint64_t n_split;
};
void toc_write_free(struct toc_write *w);

/* A member's entry, still without content. The caller ends it with json_field_free(). */
int toc_write_begin(const struct tar_member *m, struct json_object **ret);

/* A chunk's fields, into the file's own entry or one of its own. */
int toc_write_chunk(struct json_object *entry, const struct toc_chunk *chunk);
int toc_write_digest(struct json_object *entry, const char *key, const struct digest *d);
int toc_write_number(struct json_object *entry, const char *key, uint64_t n);

/* The entry as it is now goes into the table. */
int toc_write_entry(struct toc_write *w, struct json_object *entry);

/* Around the entries: the whole table. `split` (may be NULL) is the digest of the packed tar-split stream. */
int toc_write_finish(const struct toc_write *w, const struct digest *split, struct bytes *ret);

int toc_write_segment(struct toc_write *w, const void *data, size_t size);
int toc_write_file(struct toc_write *w, const char *name, uint64_t size, uint64_t crc64);

/* CRC-64/ISO as Go's hash/crc64 has it; begins with 0. */
uint64_t toc_write_crc64(uint64_t crc, const uint8_t *data, size_t size);
