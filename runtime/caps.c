/* libcap knows the names; the sets go to the kernel by capset(2) and prctl(2). */
#include "runtime/caps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "base/report.h"

/* The bounding set of ours: nothing outside it can be given. */
static uint64_t held(void)
{
	uint64_t set = 0;

	for (int c = 0; c < 64; c++) {
		int has = prctl(PR_CAPBSET_READ, c, 0, 0, 0);

		if (has < 0)
			break; /* past the kernel's last one */
		if (has)
			set |= CAPS_BIT(c);
	}
	return set;
}

int caps_parse(const char *name, uint64_t *ret)
{
	char full[64];
	cap_value_t value;

	if (strcasecmp(name, "ALL") == 0) {
		*ret = held();
		return 0;
	}
	snprintf(full, sizeof(full), "%s%s", strncasecmp(name, "cap_", 4) == 0 ? "" : "cap_", name);
	if (cap_from_name(full, &value) < 0 || value < 0 || value > 63)
		return fail(EINVAL, "there is no capability named \"%s\"; capabilities(7) lists them", name);
	*ret = CAPS_BIT(value);
	return 0;
}

int caps_bound(const struct config_capabilities *c)
{
	for (int i = 0; i < 64; i++) {
		if (c->bounding >> i & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break; /* past the kernel's last one */
		return fail(errno, "dropping capability %d from the bounding set: %s", i, strerror(errno));
	}
	return 0;
}

int caps_raise(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	if (capget(&head, sets) < 0)
		return fail(errno, "capget: %s", strerror(errno));
	sets[0].effective = sets[0].permitted;
	sets[1].effective = sets[1].permitted;
	return capset(&head, sets) < 0 ? fail(errno, "capset: %s", strerror(errno)) : 0;
}

int caps_apply(const struct config_capabilities *c)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[2], want[2];
	uint64_t permitted;

	/* Only what we hold ourselves can be given; crun and runc drop the rest silently, too. */
	if (capget(&head, now) < 0)
		return fail(errno, "capget: %s", strerror(errno));
	permitted = c->permitted & ((uint64_t)now[1].permitted << 32 | now[0].permitted);
	for (int i = 0; i < 2; i++)
		want[i] = (struct __user_cap_data_struct){
			.permitted = (uint32_t)(permitted >> 32 * i),
			.effective = (uint32_t)((permitted & c->effective) >> 32 * i),
			.inheritable = (uint32_t)(c->inheritable >> 32 * i),
		};
	if (capset(&head, want) < 0)
		return fail(errno, "capset: %s", strerror(errno));
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return fail(errno, "clearing the ambient capabilities: %s", strerror(errno));
	for (int i = 0; i < 64; i++)
		if ((c->ambient >> i & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return fail(errno, "raising ambient capability %d: %s", i, strerror(errno));
	return 0;
}
