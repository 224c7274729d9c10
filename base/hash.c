/* EVP calls after a successful init do not fail for sha2; a failure there is a broken process. */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

#define FILE_PIECE (256u << 10)

struct hash {
	EVP_MD_CTX *context;
	const EVP_MD *method;
	uint8_t algorithm;
};

int hash_new(enum digest_algorithm algorithm, struct hash **ret)
{
	struct hash *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->algorithm = (uint8_t)algorithm;
	h->method = algorithm == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256();
	h->context = EVP_MD_CTX_new();
	if (!h->context || !EVP_DigestInit_ex(h->context, h->method, NULL)) {
		hash_free(&h);
		return fail(EIO, "OpenSSL has no %s here; is it in a restricted mode?",
			    algorithm == DIGEST_SHA512 ? "sha512" : "sha256");
	}
	*ret = h;
	return 0;
}

void hash_free(struct hash **h)
{
	if (*h)
		EVP_MD_CTX_free((*h)->context);
	free(*h);
	*h = NULL;
}

void hash_update(struct hash *h, const void *data, size_t size)
{
	int ok = EVP_DigestUpdate(h->context, data, size);

	assert(ok);
	(void)ok;
}

void hash_finish(struct hash *h, struct digest *ret)
{
	struct digest d = {.algorithm = h->algorithm};
	unsigned int size = 0;
	int ok = EVP_DigestFinal_ex(h->context, d.bytes, &size);

	assert(ok && size == digest_size(&d));
	ok = EVP_DigestInit_ex(h->context, h->method, NULL);
	assert(ok);
	(void)ok;
	*ret = d;
}

void hash_bytes(const void *data, size_t size, struct digest *ret)
{
	struct digest d = {.algorithm = DIGEST_SHA256};
	unsigned int n = 0;
	int ok = EVP_Digest(data, size, d.bytes, &n, EVP_sha256(), NULL);

	assert(ok && n == 32);
	(void)ok;
	*ret = d;
}

int hash_file(int fd, enum digest_algorithm algorithm, struct digest *ret)
{
	_cleanup_(fd_free_memory) uint8_t *piece = malloc(FILE_PIECE);
	_cleanup_(hash_free) struct hash *h = NULL;
	int r = hash_new(algorithm, &h);

	if (r < 0 || !piece)
		return r < 0 ? r : -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, piece, FILE_PIECE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		hash_update(h, piece, (size_t)n);
	}
	hash_finish(h, ret);
	return 0;
}
