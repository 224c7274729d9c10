/* Requests become calls of lazy_record, lazy_index and soci_write. */
#include "fetch/lazy_requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "fetch/lazy_index.h"
#include "fetch/lazy_record.h"
#include "fetch/operations.h"
#include "fetch/soci_write.h"
#include "format/lazy_artifact.h"

/* What will run, as image_container.c puts it together: --entrypoint replaces the image's and drops its CMD. */
int lazy_requests_command(struct json_object *o, const struct image *image, struct bytes *ret)
{
	const char *entrypoint = NULL;
	struct json_object *args = NULL;
	size_t n_args = 0, n = 0, n_own = 0;
	const char **argv;
	int r;

	json_field_string(o, "entrypoint", &entrypoint);
	json_field_array(o, "args", &args, &n_args);
	while (image->command[n_own])
		n_own++;
	argv = calloc(n_own + n_args + 2, sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	if (entrypoint && *entrypoint)
		argv[n++] = entrypoint;
	for (size_t i = 0; !entrypoint && i < (n_args ? image->n_entrypoint : n_own); i++)
		argv[n++] = image->command[i];
	for (size_t i = 0; i < n_args; i++)
		argv[n++] = json_object_get_string(json_object_array_get_idx(args, i));
	r = lazy_artifact_command((char *const *)argv, ret);
	free(argv);
	return r;
}

/* {"op": "record"}: from here on what is read of the image's layers is noted, until "index". */
int lazy_requests_record(struct context *c, struct json_object *o)
{
	_cleanup_(image_free) struct image *image = NULL;
	struct image_want want = {.pull = IMAGE_PULL_NEVER, .trust = IMAGE_TRUST_WHOLE};
	struct reference ref;
	int r = operations_reference(o, &ref);

	want.ref = &ref;
	json_field_string(o, "platform", &want.platform);
	if (r == 0)
		r = image_resolve(c, &want, NULL, &image);
	return r < 0 ? r : lazy_record_start(c, image);
}

int lazy_requests_record_end(struct context *c)
{
	_cleanup_(bytes_free) struct bytes touched = {0};
	int r = lazy_record_stop(c, &touched);

	return r == -ENODATA ? 0 : r;
}

int lazy_requests_index(struct context *c, uint32_t connection, struct source *source, struct json_object *o,
			struct json_object *answer)
{
	_cleanup_(image_free) struct image *image = NULL;
	_cleanup_(bytes_free) struct bytes touched = {0}, command = {0};
	struct image_want want = {.pull = IMAGE_PULL_NEVER, .trust = IMAGE_TRUST_WHOLE};
	struct lazy_index_how how = {0};
	const char *format = "";
	struct reference ref;
	int push = 0, record = 0, add = 0, profiles = 0, r = operations_reference(o, &ref);

	want.ref = &ref;
	json_field_string(o, "platform", &want.platform);
	json_field_string(o, "format", &format);
	json_field_bool(o, "push", &push);
	json_field_bool(o, "record", &record);
	json_field_bool(o, "add_record", &add);
	json_field_bool(o, "profiles", &profiles);
	if (r == 0 && record) {
		r = lazy_record_stop(c, &touched);
		if (r == -ENODATA)
			return fail(ENODATA, "nothing of the image was read while the command ran");
	}
	if (r == 0)
		r = image_resolve(c, &want, NULL, &image);
	if (r == 0 && strcmp(format, "soci") == 0)
		return soci_write(c, source, image, &(struct soci_write_how){connection, push}, answer);
	if (r == 0)
		r = lazy_requests_command(o, image, &command);
	if (r < 0)
		return r;
	how = (struct lazy_index_how){.connection = connection,
				      .push = push,
				      .add_record = add,
				      .profiles = profiles,
				      .touched = record ? &touched : NULL,
				      .command = (const char *)command.data};
	return lazy_index(c, source, image, &how, answer);
}
