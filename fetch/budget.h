/* budget: keeps the store within its bytes, also while containers run.
 *
 * Cold is what the server was not asked for for longest (cache/number_table). What has no way back stays, whatever
 * the budget says.
 *
 * Ownership  -
 * Units      Bytes of the disk.
 * Errors     Reported (the log); what could not go now goes later.
 * Threads    One round at a time.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include "fetch/context.h"

void budget_hold(struct context *c);
