/* ensure, join, open. */
#include "cli/image_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/worker.h"

int image_files_open(const struct ensure_options *options, struct image_files *f)
{
	int r = store_open(NULL, NULL, true, &f->store);

	if (r == 0)
		r = ensure_image(f->store, options, ENSURE_IMAGE, &f->image);
	if (r == 0)
		r = client_join(f->image->client);
	if (r < 0)
		return r;
	r = worker_start(f->image->client, options->image, &f->exit_code);
	if (r != 0)
		return r;
	/* By path: run_fd belongs to the namespace we came from, where nothing is mounted. */
	if (snprintf(f->root_path, sizeof(f->root_path), "%s/fs/images/%s", f->store->run_path,
		     f->image->image_key) >= (int)sizeof(f->root_path))
		return fail(ENAMETOOLONG, "the run directory %s has too long a path; choose another with --run-dir",
			    f->store->run_path);
	f->root_fd = open(f->root_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->root_fd < 0)
		return fail(errno, "%s, where the image should be shown, cannot be opened: %s; `lazyrun status` says "
				   "whether its server runs", f->root_path, strerror(errno));
	return 0;
}

void image_files_close(struct image_files *f)
{
	fd_close(&f->root_fd);
	ensure_result_free(&f->image);
	store_free(&f->store);
}

int image_files_hold(struct client *c, const char *dir, const char *image_key, bool hold)
{
	_cleanup_(json_field_free) struct json_object *request = json_object_new_object(), *answer = NULL;
	struct reference key = {.kind = REFERENCE_LAYOUT};
	uint8_t remember[16];

	if (!request || json_object_object_add(request, "op", json_object_new_string("hold")) < 0 ||
	    json_object_object_add(request, "name", json_object_new_string(dir)) < 0 ||
	    json_object_object_add(request, "image_key", json_object_new_string(image_key)) < 0 ||
	    json_object_object_add(request, "hold", json_object_new_boolean(hold)) < 0)
		return -ENOMEM;
	/* A key of the directory; "mount" keeps it apart from layouts at the same path. */
	snprintf(key.path, sizeof(key.path), "mount%s", dir);
	ensure_remember_key(&key, NULL, remember);
	return client_request(c, request, remember, &answer);
}
