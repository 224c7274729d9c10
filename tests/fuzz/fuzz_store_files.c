/* The small text files of a store, as a crash, a disk or a hand may have left them: a name, a layer's blob, its sources,
 * an image's artifact. */
#include <assert.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/artifacts.h"
#include "cache/layer_blob.h"
#include "cache/layer_sources.h"
#include "cache/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[] = "/dev/shm/fuzz-store-XXXXXX";
static const char key[] = "sha256-0000000000000000000000000000000000000000000000000000000000000000";
static struct store store = {.store_path = path, .store_fd = -1};
static int layer_fd, artifacts_fd;
static char artifact_name[256];

static int make_dir(int in_fd, const char *name)
{
	int fd;

	assert(mkdirat(in_fd, name, 0700) == 0);
	fd = openat(in_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert(fd >= 0);
	return fd;
}

static void remove_store(void)
{
	unlinkat(layer_fd, LAYER_BLOB_FILE, 0);
	unlinkat(layer_fd, "sources", 0);
	unlinkat(store.layers_fd, key, AT_REMOVEDIR);
	unlinkat(store.names_fd, "name", 0);
	unlinkat(artifacts_fd, artifact_name, 0);
	unlinkat(store.store_fd, "artifacts", AT_REMOVEDIR);
	unlinkat(store.store_fd, "layers", AT_REMOVEDIR);
	unlinkat(store.store_fd, "names", AT_REMOVEDIR);
	rmdir(path);
}

static void make_store(void)
{
	assert(mkdtemp(path));
	store.store_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert(store.store_fd >= 0);
	store.layers_fd = make_dir(store.store_fd, "layers");
	store.names_fd = make_dir(store.store_fd, "names");
	artifacts_fd = make_dir(store.store_fd, "artifacts");
	layer_fd = make_dir(store.layers_fd, key);
	atexit(remove_store);
}

/* Its name is a hash. */
static void find_artifact(void)
{
	DIR *dir = fdopendir(dup(artifacts_fd));
	struct dirent *d;

	assert(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			snprintf(artifact_name, sizeof(artifact_name), "%s", d->d_name);
	closedir(dir);
	assert(artifact_name[0]);
}

static void put(int dir_fd, const char *name, const uint8_t *data, size_t size)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert(fd >= 0 && fd_write_full(fd, data, size) == 0);
}

static void read_names(void)
{
	struct name_entry *list = NULL;
	size_t n = 0;

	names_check(&store, "name");
	if (names_list(&store, &list, &n) == 0)
		for (size_t i = 0; i < n; i++)
			assert(digest_size(&list[i].digest) && digest_size(&list[i].manifest));
	free(list);
}

static void read_layer(void)
{
	struct layer_blob b;
	char **names = NULL;
	size_t n = 0;

	if (layer_blob_get(&store, key, &b) == 0)
		assert(digest_size(&b.digest) && b.size <= LIMIT_BLOB_SIZE);
	if (layer_sources_get(&store, key, &names, &n) == 0)
		for (size_t i = 0; i < n; i++)
			assert(names[i][0] && !strchr(names[i], '\n'));
	layer_sources_free(&names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct digest manifest = {.algorithm = DIGEST_SHA256};
	char text[REPORT_TEXT_SIZE];
	struct digest found;

	report_capture(text);
	if (store.store_fd < 0) {
		make_store();
		assert(artifacts_put(&store, ARTIFACTS_LAZY, "registry.example/x", &manifest, &manifest) == 0);
		find_artifact();
	}
	put(store.names_fd, "name", data, size);
	put(layer_fd, LAYER_BLOB_FILE, data, size);
	put(layer_fd, "sources", data, size);
	put(artifacts_fd, artifact_name, data, size);
	read_names();
	read_layer();
	if (artifacts_get(&store, ARTIFACTS_LAZY, "registry.example/x", &manifest, &found) == 0)
		assert(digest_size(&found));
	report_capture(NULL);
	return 0;
}
