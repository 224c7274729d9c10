/* credential_helper: asks a program "docker-credential-<name>" for the credentials of one host.
 *
 * Ownership  credential_helper_get() fills username and password, or identity_token, of `f`.
 * Units      -
 * Errors     -ENOENT bare: the helper has none for this host. -ENOEXEC bare: there is no such program.
 *            Else reported: -ETIMEDOUT, -EFBIG, -EBADMSG, -EIO. What it printed is never repeated.
 * Threads    Any; it starts a process without a shell and waits for it.
 * Source     docker-credential-helpers, "Usage"; docker's "<token>" user name for identity tokens.
 */
#pragma once

#include "fetch/auth_file.h"

int credential_helper_get(const char *helper, const char *host, struct auth_found *f);

/* What `program` printed. */
int credential_helper_parse(const void *answer, size_t size, const char *program, struct auth_found *f);
