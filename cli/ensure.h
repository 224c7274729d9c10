/* ensure: asks the server that an image be there, and hands back what it is.
 *
 * Every command that needs an image calls ensure_image(): it reads the user's credentials, connects
 * (starting the server where none runs), sends "ensure" (base/message.h), shows progress, waits.
 *
 * Ownership  ensure_image() hands over a struct ensure_result; ensure_result_free() ends it with all
 *            its texts and closes its connection. Options are borrowed.
 * Units      Sizes are packed bytes in the registry.
 * Errors     Reported, as the fetcher understood them: -ENOENT no such image (or "never" and not in
 *            the store), -EACCES, -EHOSTUNREACH, ... -EINVAL: a wrong reference or option.
 *            -ETIMEDOUT: the server does not answer.
 * Threads    One thread; the connection is not shared.
 * Source     base/message.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "cache/store.h"
#include "cli/options.h"
#include "fetch/credentials.h"
#include "format/reference.h"

struct client;

enum ensure_until {
	ENSURE_MANIFEST, /* manifest and config are in <store>/blobs/sha256 */
	ENSURE_IMAGE,	 /* <run>/fs/images/<image_key> can be read */
};

struct ensure_options {
	const char *image;    /* as the user wrote it */
	const char *platform; /* --platform, or NULL: this machine's */
	const char *pull;     /* --pull: "missing" (also NULL), "always", "never" */
	const char *trust;    /* --trust: "repository" (also NULL), "pinned" */
	bool require_lazy;    /* rather fail than stream a layer that is not small */
	const char *read_timeout; /* --read-timeout: seconds that reads wait for bytes whose host is away; NULL: as it is */
	bool offline;	      /* --offline: what is not here is not asked for, and its reads fail */
	const char *fill;     /* --fill: "idle" (also NULL), "now", "never": bytes that nobody has asked for */
	const char *fill_rate; /* --fill-rate: MiB a second; NULL: as fast as it goes */
	bool start;	      /* something will run in it */
	bool whole;	      /* every byte of the layers, verified against the image config */
	const char *entrypoint; /* --entrypoint, or NULL: the image's own */
	char *const *command;	/* what stands behind the image, or NULL: together they choose the start pack */
	bool quiet;	      /* no progress */
	bool lines;	      /* progress as lines where standard error is no terminal; else none there */
	struct credentials_options credentials;
};

struct ensure_layer {
	struct digest digest;
	struct digest diff_id; /* DIGEST_NONE with ENSURE_MANIFEST, when the server did not say */
	uint64_t size;
	char *media_type;
	char *key; /* of the layer's directory in the store; "" as long as it is not there */
	char *from; /* what vouches for it: "tar" or "artifact" */
};

struct ensure_result {
	struct reference reference;
	char *image_key;       /* hex; name below <run>/fs/images; "" with ENSURE_MANIFEST */
	uint64_t image_number; /* another one after the image was removed; 0 with ENSURE_MANIFEST */
	struct digest manifest_digest;
	struct digest config_digest;
	uint64_t fetched_bytes; /* by this request */
	uint64_t requests;	/* to the registry, by this request */
	struct ensure_layer *layers;
	size_t n_layers;
	struct client *client; /* the open connection: while it is open, the server does not leave */
};

/* `s` is the store to use, from store_open(). */
int ensure_image(const struct store *s, const struct ensure_options *options, enum ensure_until until,
		 struct ensure_result **ret);
void ensure_result_free(struct ensure_result **r);

/* The two halves of ensure_image(), for who has something to do while the server looks: after the first
 * half only `reference` and `client` are set. */
int ensure_begin(const struct store *s, const struct ensure_options *options, enum ensure_until until,
		 struct ensure_result **ret);
int ensure_finish(const struct ensure_options *options, enum ensure_until until, struct ensure_result *result);

/* A manifest or config blob (at most `max` bytes, NUL-terminated behind size) of <store>/blobs/sha256.
 * The fetcher has verified it before it was renamed there. */
int ensure_read_blob(const struct store *s, const struct digest *d, size_t max, struct bytes *ret);

/* The key under which the supervisor remembers a reference's packet: any stable number of host,
 * repository and "access" (may be NULL), never zero: what a later command says in another way must not replace it.
 * No proof, and no more secret than the packet: only a key among the user's own references. */
void ensure_remember_key(const struct reference *ref, struct json_object *access, uint8_t ret[static 16]);

/* Options that every such command shares; see cli/options.h. Values behind `o` are borrowed from argv:
 * --platform --pull --trust --require-lazy --offline --read-timeout --fill --fill-rate -q/--quiet --authfile --creds --plain-http --tls-verify. */
#define ENSURE_N_OPTIONS 13
void ensure_option_specs(struct ensure_options *o, struct option_spec ret[static ENSURE_N_OPTIONS]);
