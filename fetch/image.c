/* Name -> digest -> manifest for this platform -> config -> layer keys, each from the store if it can. */
#include "fetch/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/blob_store.h"
#include "cache/layer_blob.h"
#include "cache/layer_store.h"
#include "fetch/chunked_layer.h"
#include "fetch/ensure_layers.h"
#include "fetch/image_referrers.h"
#include "fetch/lazy.h"
#include "fetch/lazy_layer.h"
#include "fetch/soci.h"
#include "fetch/soci_layer.h"
#include "fetch/stream.h"

struct resolve {
	struct context *context;
	const struct reference *ref;
	struct source *source; /* NULL: no requests */
	const char *text;      /* of the reference, for messages */
	struct platform platform;
	struct image *image; /* to search an artifact for; NULL: not wanted */
};

void image_free(struct image **i)
{
	if (!*i)
		return;
	image_referrers_free(&(*i)->referrers);
	for (char **a = (*i)->command; a && *a; a++)
		free(*a);
	free((*i)->command);
	free((*i)->path);
	free((*i)->created);
	free((*i)->layers);
	free(*i);
	*i = NULL;
}

static int not_here(const struct resolve *v)
{
	return fail(ENOENT, "%s is not in the store (or not all of it), and nothing may be asked of the registry "
			    "(--offline or --pull=never); run: lazyrun pull %s", v->text, v->text);
}

/* A manifest or index by digest: the store's copy, else the registry's. */
static int get_by_digest(const struct resolve *v, const struct digest *d, struct bytes *ret,
			 char content_type[static 128])
{
	struct digest got;
	int r = blob_store_get(v->context->store, d, LIMIT_MANIFEST_SIZE, ret);

	content_type[0] = '\0';
	if (r != -ENOENT)
		return r;
	if (!v->source)
		return not_here(v);
	r = source_get_manifest(v->source, NULL, d, ret, content_type, &got);
	if (r < 0)
		return r;
	return blob_store_put(v->context->store, d, ret->data, ret->size);
}

/* What the name names: its digest goes into `name`. */
static int get_top(const struct resolve *v, enum image_pull pull, struct name_entry *name, struct bytes *ret,
		   char content_type[static 128])
{
	int r;

	if (v->ref->digest.algorithm != DIGEST_NONE) {
		name->digest = v->ref->digest;
		return get_by_digest(v, &name->digest, ret, content_type);
	}
	if (pull != IMAGE_PULL_ALWAYS) {
		struct name_entry *known = malloc(sizeof(*known));

		if (!known)
			return -ENOMEM;
		r = names_get(v->context->store, name->reference, name->platform, known);
		if (r == 0) {
			name->digest = known->digest;
			name->checked = known->checked;
		}
		free(known);
		if (r == 0)
			return get_by_digest(v, &name->digest, ret, content_type);
		if (r != -ENOENT)
			return r;
	}
	if (!v->source)
		return not_here(v);
	r = source_get_manifest(v->source, v->ref->tag, NULL, ret, content_type, &name->digest);
	if (r < 0)
		return r;
	name->checked = time(NULL);
	return blob_store_put(v->context->store, &name->digest, ret->data, ret->size);
}

/* Goes through image indexes down to the manifest for the platform. *ret_soci: the SOCI index that belongs to it, which
 * the manifest names, or an image index above it. */
static int get_manifest(const struct resolve *v, enum image_pull pull, struct name_entry *name,
			struct manifest **ret, struct digest *ret_soci)
{
	_cleanup_(manifest_free) struct manifest *m = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	char content_type[128];
	int r = get_top(v, pull, name, &b, content_type);

	if (r < 0)
		return r;
	name->manifest = name->digest;
	for (unsigned int depth = 0;; depth++) {
		const struct manifest_entry *entry;

		manifest_free(&m);
		r = manifest_parse(b.data, b.size, content_type[0] ? content_type : NULL, v->text, &m);
		if (r < 0)
			return r;
		if (!m->is_index)
			break;
		if (depth >= LIMIT_INDEX_DEPTH)
			return fail(EFBIG, "%s: image indexes are nested deeper than %u", v->text, LIMIT_INDEX_DEPTH);
		r = manifest_choose(m, &v->platform, v->text, &entry);
		if (r < 0)
			return r;
		name->manifest = entry->descriptor.digest;
		*ret_soci = entry->soci;
		bytes_free(&b);
		r = get_by_digest(v, &name->manifest, &b, content_type);
		if (r < 0)
			return r;
	}
	if (m->soci.algorithm != DIGEST_NONE)
		*ret_soci = m->soci;
	*ret = TAKE(m);
	return 0;
}

/* Whether some layer has nothing but an artifact to start from. */
static bool wants_artifact(const struct manifest *m)
{
	for (size_t i = 0; i < m->n_layers; i++)
		if (m->tables[i].kind == TOC_NONE && m->layers[i].size > ENSURE_LAYERS_SMALL)
			return true;
	return false;
}

static int get_config(const struct resolve *v, const struct manifest *m, struct image_config **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = blob_store_get(v->context->store, &m->config.digest, LIMIT_CONFIG_SIZE, &b);

	if (r == -ENOENT) {
		if (!v->source)
			return not_here(v);
		if (v->image && wants_artifact(m)) /* the image is new here, so its layers probably are */
			image_referrers_begin(v->source, &v->image->name.manifest, &v->image->referrers);
		r = source_get_blob(v->source, &m->config, LIMIT_CONFIG_SIZE, &b);
		if (r == 0)
			r = blob_store_put(v->context->store, &m->config.digest, b.data, b.size);
	}
	if (r < 0)
		return r;
	return image_config_parse(b.data, b.size, v->text, ret);
}

static void make_key(struct image *i)
{
	_cleanup_(bytes_free) struct bytes all = {0};
	char hex[DIGEST_HEX_MAX + 1];
	struct digest d;

	for (size_t n = 0; n < i->n_layers; n++)
		bytes_printf(&all, "%s\n", i->layers[n].key);
	hash_bytes(all.data, all.size, &d);
	snprintf(i->key, sizeof(i->key), "%.64s", digest_hex(&d, hex));
}

static int make_layers(const struct resolve *v, const struct manifest *m, const struct image_config *config,
		       struct image *i)
{
	if (m->n_layers != config->n_diff_ids)
		return fail(EBADMSG, "%s: its manifest lists %zu layers, its config %zu diffIDs: the image is broken",
			    v->text, m->n_layers, config->n_diff_ids);
	if (m->n_layers == 0)
		return fail(EOPNOTSUPP, "%s has no layers: there is nothing to show or run", v->text);
	i->layers = calloc(m->n_layers, sizeof(*i->layers));
	if (!i->layers)
		return -ENOMEM;
	i->n_layers = m->n_layers;
	for (size_t n = 0; n < m->n_layers; n++) {
		if (config->diff_ids[n].algorithm != DIGEST_SHA256)
			return fail(EOPNOTSUPP, "%s: the diffID of layer %zu is not a sha256 digest", v->text, n + 1);
		i->layers[n].blob = m->layers[n];
		i->layers[n].diff_id = config->diff_ids[n];
		i->layers[n].table = m->tables[n];
	}
	return 0;
}

/* Its entrypoint and cmd: what runs when nothing else is said. */
static int take_command(const struct image_config *config, struct image *i)
{
	const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	size_t n = 0;

	for (char **e = config->env; *e; e++)
		if (strncmp(*e, "PATH=", 5) == 0)
			path = *e + 5;
	for (char **a = config->entrypoint; *a; a++)
		n++;
	i->n_entrypoint = n;
	for (char **a = config->cmd; *a; a++)
		n++;
	i->command = calloc(n + 1, sizeof(*i->command));
	i->path = strdup(path);
	i->created = strdup(config->created ? config->created : "");
	if (!i->command || !i->path || !i->created)
		return -ENOMEM;
	n = 0;
	for (char *const *list = config->entrypoint; list; list = list == config->entrypoint ? config->cmd : NULL)
		for (char *const *a = list; *a; a++) {
			i->command[n] = strdup(*a);
			if (!i->command[n++])
				return -ENOMEM;
		}
	return 0;
}

static bool is_there(const struct context *c, const char *layer_key)
{
	return faccessat(c->store->layers_fd, layer_key, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	       !layer_store_is_bad(c->store, layer_key);
}

const char *image_layer_origin(const struct image_layer *l)
{
	switch (l->from) {
	case IMAGE_LAYER_TAR:
		break;
	case IMAGE_LAYER_TABLE:
		return toc_place_name(l->table.kind);
	case IMAGE_LAYER_ARTIFACT:
		return "artifact";
	case IMAGE_LAYER_SOCI:
		return "soci";
	}
	return "tar";
}

static bool use(const struct context *c, struct image_layer *l, enum image_layer_from from, const char *key)
{
	if (!is_there(c, key))
		return false;
	l->from = from;
	strcpy(l->key, key);
	return true;
}

static bool use_artifact(const struct context *c, const struct image *i, const struct lazy_artifact *a,
			 struct image_layer *l)
{
	const struct lazy_artifact_layer *from = a ? lazy_artifact_layer(a, &l->blob.digest) : NULL;
	char key[LAYER_KEY_SIZE];

	if (!from)
		return false;
	lazy_layer_key(i->repository, from, key);
	return use(c, l, IMAGE_LAYER_ARTIFACT, key);
}

static bool use_soci(const struct context *c, const struct image *i, const struct soci_index *soci, unsigned int version,
		     struct image_layer *l)
{
	const struct soci_index_layer *from = soci && soci->version == version ? soci_index_layer(soci, &l->blob.digest) : NULL;
	char key[LAYER_KEY_SIZE];

	if (!from)
		return false;
	soci_layer_key(i->repository, soci, from, key);
	return use(c, l, IMAGE_LAYER_SOCI, key);
}

/* The order of the sources of a layer index; what is nowhere is to be made, or streamed as a tar. */
static void choose_layer(const struct context *c, const struct image *i, const struct lazy_artifact *a,
			 const struct soci_index *soci, struct image_layer *l)
{
	char key[LAYER_KEY_SIZE];

	l->from = IMAGE_LAYER_TAR;
	stream_key(&l->diff_id, l->key);
	if (i->trust == IMAGE_TRUST_WHOLE ||
	    (is_there(c, l->key) && layer_blob_unpacks_to(c->store, l->key, &l->diff_id, &l->blob.digest)))
		return;
	if (l->table.kind != TOC_NONE) {
		chunked_layer_key(&l->blob.digest, &l->table, key);
		if (use(c, l, IMAGE_LAYER_TABLE, key))
			return;
	}
	if (!use_soci(c, i, soci, 2, l) && !use_artifact(c, i, a, l))
		use_soci(c, i, soci, 1, l);
}

/* One that is broken, though it was found once, is as good as none. */
static int get_soci(const struct context *c, struct image *i, struct soci_index **ret)
{
	char text[REPORT_TEXT_SIZE], *outer = report_capture(text);
	int r = soci_known(c->store, i, &i->soci, ret);

	report_capture_again(outer);
	return r == -ENOMEM ? r : 0;
}

int image_choose_layers(struct context *c, struct image *i)
{
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	_cleanup_(soci_index_free) struct soci_index *soci = NULL;
	int r = i->trust == IMAGE_TRUST_REPOSITORY ? lazy_known(c->store, i->repository, &i->name.manifest, &i->artifact, &a) :
							      0;

	if (r < 0 && r != -ENOENT)
		return r;
	r = get_soci(c, i, &soci);
	if (r < 0)
		return r;
	for (size_t n = 0; n < i->n_layers; n++)
		choose_layer(c, i, a, soci, &i->layers[n]);
	make_key(i);
	return 0;
}

/* An image made for another platform, named without an index, would end in "exec format error". */
static int check_platform(const struct resolve *v, const struct image_config *config)
{
	char want[128], have[128];

	if (strcmp(config->platform.os, v->platform.os) == 0 &&
	    strcmp(config->platform.architecture, v->platform.architecture) == 0)
		return 0;
	if (!config->platform.os[0] || !config->platform.architecture[0])
		return 0; /* an old image that does not say */
	return fail(ENOENT, "%s is an image for %s, not for %s; choose with --platform", v->text,
		    platform_text(&config->platform, have), platform_text(&v->platform, want));
}

int image_resolve(struct context *c, const struct image_want *want, struct source *source, struct image **ret)
{
	_cleanup_(image_config_free) struct image_config *config = NULL;
	_cleanup_(manifest_free) struct manifest *m = NULL;
	_cleanup_(image_free) struct image *i = calloc(1, sizeof(*i));
	struct resolve v = {
		.context = c, .ref = want->ref, .source = want->pull == IMAGE_PULL_NEVER ? NULL : source};
	int r;

	if (!i)
		return -ENOMEM;
	r = platform_parse(want->platform, &v.platform);
	if (r < 0)
		return r;
	i->trust = want->trust;
	source_table_name(want->ref, i->repository, sizeof(i->repository));
	if (want->layers && want->trust == IMAGE_TRUST_REPOSITORY)
		v.image = i;
	v.text = reference_text(want->ref, i->name.reference);
	platform_text(&v.platform, i->name.platform);
	r = get_manifest(&v, want->pull, &i->name, &m, &i->soci_v2);
	if (r == 0)
		r = get_config(&v, m, &config);
	if (r == 0)
		r = check_platform(&v, config);
	if (r == 0)
		r = make_layers(&v, m, config, i);
	if (r == 0)
		r = take_command(config, i);
	if (r == 0)
		r = image_choose_layers(c, i);
	if (r < 0)
		return r;
	i->config = m->config.digest;
	*ret = TAKE(i);
	return 0;
}
