/* boot: what a store keeps over a crash of the machine, and when that is asked.
 *
 * The store's file "boot" names the boot (/proc/sys/kernel/random/boot_id) in which it was last used. In another one,
 * what was written without a sync may be torn: each layer has what its have.synced says, or is dropped.
 *
 * Ownership  -
 * Units      -
 * Errors     boot_recover(): reported; what cannot be kept is dropped, which is no error.
 * Threads    Only while nobody else uses the store: its lock is held, and no server or fetcher is started yet.
 * Source     docs/design.md, "The cache"; random(4).
 */
#pragma once

#include <stdbool.h>

#include "cache/store.h"

bool boot_is_new(const struct store *s);
int boot_recover(const struct store *s);
