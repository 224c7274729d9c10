/* Layers one by one, then blobs, names and profiles. */
#include "fetch/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/message.h"
#include "base/report.h"
#include "cache/names.h"
#include "cache/profiles.h"
#include "fetch/check_layer.h"

#define TELL_MS 500
#define PROBLEMS_MAX 300 /* in one answer; all are counted and repaired */

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

void check_problem(struct check *c, const char *what, const char *why, const char *repair)
{
	struct json_object *o;

	c->n_problems++;
	c->n_repaired += repair != NULL;
	report_note("check: %s: %s%s%s", what, why, repair ? ": " : "", repair ? repair : "");
	if (json_object_array_length(c->problems) >= PROBLEMS_MAX)
		return;
	o = json_object_new_object();
	add_text(o, "what", what);
	add_text(o, "why", why);
	add_text(o, "repair", repair ? repair : "");
	json_object_array_add(c->problems, o);
}

void check_tell(struct check *c)
{
	struct message_head head = {.kind = MESSAGE_REPLY, .connection = c->connection};
	_cleanup_(json_field_free) struct json_object *o = NULL;

	if (clock_ms() - c->told < TELL_MS)
		return;
	c->told = clock_ms();
	o = json_object_new_object();
	add_text(o, "event", "check");
	add_number(o, "layer", c->n_layers);
	add_number(o, "layers", c->layers_to_come);
	message_send(c->context->setup->command_fd, &head, o, 1000);
}

static DIR *open_list(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		fd_close(&fd);
	return dir;
}

static int check_layers(struct check *c)
{
	DIR *dir = open_list(c->context->store->layers_fd);
	struct dirent *d;
	int r = 0;

	if (!dir)
		return fail(errno, "%s/layers: %s", c->context->store->store_path, strerror(errno));
	while ((d = readdir(dir)))
		c->layers_to_come += d->d_name[0] != '.';
	rewinddir(dir);
	while (r == 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.' || strlen(d->d_name) >= LAYER_KEY_SIZE ||
		    layer_store_is_bad(c->context->store, d->d_name))
			continue; /* known to be bad: nobody uses it */
		check_tell(c);
		r = check_layer(c, d->d_name);
		c->n_layers++;
	}
	closedir(dir);
	return r;
}

static int check_blob(struct check *c, const char *name)
{
	int blobs_fd = c->context->store->blobs_fd;
	_cleanup_(fd_close) int fd = openat(blobs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	enum digest_algorithm algorithm = strlen(name) == 64 ? DIGEST_SHA256 : DIGEST_SHA512;
	char hex[DIGEST_HEX_MAX + 1], what[300];
	struct digest got;
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	c->n_blobs++;
	r = fd < 0 ? -errno : hash_file(fd, algorithm, &got);
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return fail(-r, "%s/blobs/sha256/%s cannot be read: %s", c->context->store->store_path, name, strerror(-r));
	if (r == 0 && strcmp(digest_hex(&got, hex), name) == 0)
		return 0;
	snprintf(what, sizeof(what), "blob %s", name);
	if (!c->dry)
		r = fd_remove_tree(blobs_fd, name);
	check_problem(c, what, "it does not match its digest",
		      c->dry || r < 0 ? NULL : "dropped; it is fetched again when it is needed");
	return 0;
}

static int check_name(struct check *c, const char *name)
{
	char what[300];
	int r = names_check(c->context->store, name);

	if (r == -ENOENT)
		return 0;
	c->n_names++;
	if (r == 0)
		return 0;
	if (r != -EBADMSG)
		return fail(-r, "%s/names/%s cannot be read: %s", c->context->store->store_path, name, strerror(-r));
	snprintf(what, sizeof(what), "name %s", name);
	if (!c->dry)
		r = fd_remove_tree(c->context->store->names_fd, name);
	check_problem(c, what, "it is torn", c->dry || r < 0 ? NULL : "dropped; the registry is asked again");
	return 0;
}

/* One that is torn would only not be used. */
static int check_profile(struct check *c, int image_fd, const char *image, const char *name)
{
	int r = profiles_check(image_fd, name);
	char what[600];

	if (r != -EBADMSG)
		return r == -ENOENT ? 0 : r;
	snprintf(what, sizeof(what), "profile %s of %s", name, image);
	if (!c->dry)
		r = fd_remove_tree(image_fd, name);
	check_problem(c, what, "it is torn", c->dry || r < 0 ? NULL : "dropped; the next start makes it again");
	return 0;
}

static int check_profiles(struct check *c)
{
	_cleanup_(fd_close) int all_fd = fd_open_dir(c->context->store->store_fd, PROFILES_DIRECTORY, false);
	DIR *images = all_fd < 0 ? NULL : open_list(all_fd);
	struct dirent *image, *d;
	int r = 0;

	while (images && r == 0 && (image = readdir(images))) {
		_cleanup_(fd_close) int image_fd = image->d_name[0] == '.' ? -1 : fd_open_dir(all_fd, image->d_name, false);
		DIR *files = image_fd < 0 ? NULL : open_list(image_fd);

		while (files && r == 0 && (d = readdir(files)))
			if (d->d_name[0] != '.')
				r = check_profile(c, image_fd, image->d_name, d->d_name);
		if (files)
			closedir(files);
	}
	if (images)
		closedir(images);
	return r;
}

static int check_small(struct check *c, int dir_fd, bool blobs)
{
	DIR *dir = open_list(dir_fd);
	struct dirent *d;
	int r = 0;

	if (!dir)
		return fail(errno, "%s: %s", c->context->store->store_path, strerror(errno));
	while (r == 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		check_tell(c);
		r = blobs ? check_blob(c, d->d_name) : check_name(c, d->d_name);
	}
	closedir(dir);
	return r;
}

int check_run(struct context *context, uint32_t connection, bool dry, struct json_object *answer)
{
	struct check c = {.context = context, .connection = connection, .dry = dry, .told = clock_ms()};
	int r;

	c.problems = json_object_new_array();
	json_object_object_add(answer, "problems", c.problems);
	r = check_layers(&c);
	if (r == 0)
		r = check_small(&c, context->store->blobs_fd, true);
	if (r == 0)
		r = check_small(&c, context->store->names_fd, false);
	if (r == 0)
		r = check_profiles(&c);
	add_number(answer, "layers", c.n_layers);
	add_number(answer, "bytes", c.bytes);
	add_number(answer, "blobs", c.n_blobs);
	add_number(answer, "names", c.n_names);
	add_number(answer, "n_problems", c.n_problems);
	add_number(answer, "n_repaired", c.n_repaired);
	return r;
}
