/* One small file for each image of a repository and kind; its name is a hash of all. */
#include "cache/artifacts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"

static int file_name(enum artifacts_kind kind, const char *repository, const struct digest *manifest,
		     char out[static DIGEST_HEX_MAX + 1])
{
	_cleanup_(bytes_free) struct bytes both = {0};
	char text[DIGEST_TEXT_MAX];
	struct digest d;
	int r = bytes_printf(&both, "%s%s\n%s", kind == ARTIFACTS_SOCI ? "soci\n" : "", repository,
			     digest_text(manifest, text));

	if (r < 0)
		return r;
	hash_bytes(both.data, both.size, &d);
	digest_hex(&d, out);
	return 0;
}

int artifacts_get(const struct store *s, enum artifacts_kind kind, const char *repository, const struct digest *manifest,
		  struct digest *ret)
{
	_cleanup_(fd_close) int dir_fd = fd_open_dir(s->store_fd, "artifacts", false);
	_cleanup_(bytes_free) struct bytes b = {0};
	char name[DIGEST_HEX_MAX + 1];
	int r = dir_fd < 0 ? dir_fd : file_name(kind, repository, manifest, name);

	if (r == 0)
		r = fd_read_file(dir_fd, name, DIGEST_TEXT_MAX, &b);
	if (r == -ENOENT)
		return r;
	if (r < 0)
		return fail(-r, "%s/artifacts: %s", s->store_path, strerror(-r));
	return digest_parse((const char *)b.data, strcspn((const char *)b.data, "\n"), ret) < 0 ? -ENOENT : 0;
}

int artifacts_put(const struct store *s, enum artifacts_kind kind, const char *repository, const struct digest *manifest,
		  const struct digest *artifact)
{
	_cleanup_(fd_close) int dir_fd = fd_open_dir(s->store_fd, "artifacts", true);
	char name[DIGEST_HEX_MAX + 1], text[DIGEST_TEXT_MAX];
	int r = dir_fd < 0 ? dir_fd : file_name(kind, repository, manifest, name);

	digest_text(artifact, text);
	if (r == 0)
		r = fd_write_file(dir_fd, name, text, strlen(text), 0600);
	return r < 0 ? fail(-r, "%s/artifacts cannot be written: %s", s->store_path, strerror(-r)) : 0;
}

int artifacts_remove(const struct store *s, enum artifacts_kind kind, const char *repository,
		     const struct digest *manifest)
{
	_cleanup_(fd_close) int dir_fd = fd_open_dir(s->store_fd, "artifacts", false);
	char name[DIGEST_HEX_MAX + 1];
	int r = dir_fd < 0 ? dir_fd : file_name(kind, repository, manifest, name);

	if (r == 0 && unlinkat(dir_fd, name, 0) < 0)
		r = -errno;
	return r == -ENOENT ? 0 : r;
}
