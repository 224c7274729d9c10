/* auth_file: what an auth.json or docker's config.json says about one repository.
 *
 * Ownership  auth_file_find() fills an auth_found with texts of its own; auth_file_free() wipes and ends them.
 * Units      -
 * Errors     -EBADMSG, reported with `name` and never with what the file holds.
 * Threads    Any.
 * Source     containers-auth.json(5); docker's cli/config/configfile.
 */
#pragma once

#include <stddef.h>

#include "format/reference.h"

struct auth_found { /* each NULL when there is none */
	char *username, *password;
	char *identity_token;
	char *key;    /* for what it is: "quay.io/team", "docker.io" */
	char *helper; /* credHelpers: to be asked for this host, before all */
	char *store;  /* credsStore: to be asked when nothing else is found */
};

/* The entry whose path is the longest that the repository lies under. Nothing found is no error. */
int auth_file_find(const void *data, size_t size, const char *name, const struct reference *ref,
		   struct auth_found *ret);
void auth_file_free(struct auth_found *f);

/* Wipes and frees a text that was secret. */
void auth_file_wipe(char **text);
