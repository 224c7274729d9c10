/* hash: computing digests, by OpenSSL.
 *
 * Ownership  hash_new() hands over; hash_free() ends.
 * Units      Bytes.
 * Errors     -ENOMEM; -EIO when OpenSSL refuses (reported).
 * Threads    A hash is used by one thread at a time.
 * Source     OpenSSL EVP, which uses the CPU's SHA instructions.
 */
#pragma once

#include "base/digest.h"

struct hash;

int hash_new(enum digest_algorithm algorithm, struct hash **ret);
void hash_free(struct hash **h);
void hash_update(struct hash *h, const void *data, size_t size);

/* Hands out the digest and starts over. */
void hash_finish(struct hash *h, struct digest *ret);

/* All in one step, sha256. */
void hash_bytes(const void *data, size_t size, struct digest *ret);

/* Of an open file, from where it stands to its end. errno of read(2), bare. */
int hash_file(int fd, enum digest_algorithm algorithm, struct digest *ret);
