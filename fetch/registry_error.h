/* registry_error: the texts of what can go wrong with a registry, and what the user can do about
 * it.
 *
 * Ownership  Nothing is handed over.
 * Units      -
 * Errors     Every function reports and returns the negative errno that source.h names.
 * Threads    Any.
 * Source     distribution-spec "Error Codes"; RFC 9110 status codes.
 */
#pragma once

#include <stdbool.h>

#include "fetch/transport.h"

/* There was no reply. `host` is whom the user asked; `url` whom we asked last (a redirect's
 * target). */
int registry_error_failure(const char *host, const char *what, const char *url,
			   const struct transport_reply *reply, int fd);

/* There was a reply, but no success. */
int registry_error_status(const char *host, const char *what, const char *url,
			  const struct transport_reply *reply, bool logged_in);
