/* One small blob a profile, the same bytes as in the store. */
#include "fetch/profile_blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/beside.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/blob_store.h"
#include "cache/profiles.h"

#define WAIT_MS 500

static int add_ours(struct context *c, const struct digest *manifest, const struct digest *command, struct lazy_artifact *to)
{
	struct lazy_artifact_profile *p = &to->profiles[to->n_profiles];
	_cleanup_(profile_free) struct profile *profile = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = profiles_get(c->store, manifest, command, &profile);

	if (r == -ENOENT)
		return 0; /* a torn one */
	if (r == 0)
		r = profile_write(profile, &b);
	if (r < 0)
		return r;
	p->command = *command;
	p->blob.size = b.size;
	hash_bytes(b.data, b.size, &p->blob.digest);
	r = blob_store_put(c->store, &p->blob.digest, b.data, b.size);
	to->n_profiles += r == 0;
	return r;
}

int profile_blob_add(struct context *c, const struct digest *manifest, const struct lazy_artifact *before, bool ours,
		     struct lazy_artifact *to)
{
	struct digest commands[LIMIT_PROFILES];
	size_t n = 0;
	int r = ours ? profiles_list(c->store, manifest, commands, &n) : 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_ours(c, manifest, &commands[i], to);
	for (size_t i = 0; r == 0 && before && i < before->n_profiles && to->n_profiles < LIMIT_PROFILES; i++)
		if (!lazy_artifact_profile(to, &before->profiles[i].command))
			to->profiles[to->n_profiles++] = before->profiles[i];
	return r;
}

struct get {
	struct context *context;
	struct source *source; /* lives as long as the process */
	struct digest manifest;
	struct lazy_artifact_profile what;
};

static int get_profile(void *argument)
{
	const struct get *g = argument;
	const struct descriptor d = {.digest = g->what.blob.digest, .size = g->what.blob.size};
	_cleanup_(profile_free) struct profile *p = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = source_get_blob(g->source, &d, PROFILE_SIZE_MAX, &b);

	if (r < 0)
		return r;
	r = profile_parse(b.data, b.size, &p);
	if (r < 0)
		return fail(-r, "the artifact in %s has a profile that is none", source_name(g->source));
	return profiles_put(g->context->store, &g->manifest, &g->what.command, p);
}

static void *run(void *argument)
{
	beside_note("a profile is left", get_profile, argument);
	free(argument);
	return NULL;
}

void profile_blob_begin(struct context *c, struct source *source, const struct image *image, const struct lazy_artifact *a,
			const char *command, struct profile_blob *ret)
{
	_cleanup_(profile_free) struct profile *known = NULL;
	const struct lazy_artifact_profile *what;
	struct digest digest;
	struct get *g;

	profiles_command(command, &digest);
	what = lazy_artifact_profile(a, &digest);
	if (!what || profiles_get(c->store, &image->name.manifest, &digest, &known) == 0)
		return;
	g = calloc(1, sizeof(*g));
	if (!g)
		return;
	*g = (struct get){.context = c, .source = source, .manifest = image->name.manifest, .what = *what};
	ret->began = thread_start(&ret->thread, run, g) == 0;
	if (!ret->began)
		free(g);
}

void profile_blob_end(struct profile_blob *p)
{
	struct timespec until;

	if (!p->began)
		return;
	p->began = false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += WAIT_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	if (pthread_timedjoin_np(p->thread, NULL, &until) != 0)
		pthread_detach(p->thread);
}
