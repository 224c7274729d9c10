/* platform: operating system and processor, and which images a machine can run.
 *
 * Ownership  A plain value.
 * Units      -
 * Errors     -EINVAL, reported: the text is not "os/arch[/variant]".
 * Threads    Any.
 * Source     image-spec image-index.md, "Platform Variants"; Go's names of systems and processors.
 */
#pragma once

struct platform {
	char os[32];
	char architecture[32];
	char variant[32];    /* "" when absent */
	char os_version[64]; /* "" when absent */
};

/* "linux/arm64/v8", "arm64"; other spellings ("x86_64") become the usual ones. NULL gives this machine's. */
int platform_parse(const char *text, struct platform *ret);
const char *platform_text(const struct platform *p, char out[static 128]);

/* How well an image for `have` suits who wants `wanted`: 0 is exactly it, larger is worse, -1 not at
 * all. An arm v7 takes v7, v6, v5 in this order, an amd64 v3 takes v3, v2, v1; no variant means
 * arm v7, arm64 v8, amd64 v1. */
int platform_distance(const struct platform *wanted, const struct platform *have);
