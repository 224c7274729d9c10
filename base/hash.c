/* EVP calls after a successful init do not fail for sha2; a failure there is a broken process. */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"

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
