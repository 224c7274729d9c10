/* A short text file, written anew when a source is added. */
#include "cache/layer_sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/limits.h"

#define SOURCES_SIZE_MAX (LAYER_SOURCES_MAX * (LIMIT_PATH_SIZE + 8))

static int open_layer(const struct store *s, const char *layer_key)
{
	return beneath_cache_open(s->layers_fd, layer_key, O_RDONLY | O_DIRECTORY, 0);
}

void layer_sources_free(char **names[])
{
	for (char **n = *names; n && *n; n++)
		free(*n);
	free(*names);
	*names = NULL;
}

static int parse(char *text, char **ret_names[], size_t *ret_n)
{
	_cleanup_(layer_sources_free) char **names = calloc(LAYER_SOURCES_MAX + 1, sizeof(*names));
	size_t n = 0;
	char *rest = NULL;

	if (!names)
		return -ENOMEM;
	/* A line that a crash has cut names another place: only what ends is believed. */
	if (strrchr(text, '\n'))
		*strrchr(text, '\n') = '\0';
	else
		*text = '\0';
	for (char *line = strtok_r(text, "\n", &rest); line && n < LAYER_SOURCES_MAX;
	     line = strtok_r(NULL, "\n", &rest)) {
		names[n] = strdup(line);
		if (!names[n++])
			return -ENOMEM;
	}
	*ret_names = TAKE(names);
	*ret_n = n;
	return 0;
}

int layer_sources_get(const struct store *s, const char *layer_key, char **ret_names[], size_t *ret_n)
{
	_cleanup_(fd_close) int dir_fd = open_layer(s, layer_key);
	_cleanup_(bytes_free) struct bytes b = {0};
	char empty[1] = "";
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = fd_read_file(dir_fd, "sources", SOURCES_SIZE_MAX, &b);
	if (r < 0 && r != -ENOENT)
		return r;
	return parse(b.data ? (char *)b.data : empty, ret_names, ret_n);
}

int layer_sources_add(const struct store *s, const char *layer_key, const char *name)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(fd_close) int dir_fd = open_layer(s, layer_key);
	_cleanup_(bytes_free) struct bytes b = {0};
	size_t n, kept = 1;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = layer_sources_get(s, layer_key, &names, &n);
	if (r < 0)
		return r;
	if (n && strcmp(names[0], name) == 0)
		return 0;
	r = bytes_printf(&b, "%s\n", name);
	for (size_t i = 0; r == 0 && i < n && kept < LAYER_SOURCES_MAX; i++)
		if (strcmp(names[i], name) != 0) {
			r = bytes_printf(&b, "%s\n", names[i]);
			kept++;
		}
	if (r < 0)
		return r;
	return fd_write_file(dir_fd, "sources", b.data, b.size, 0600);
}
