/* The file system below the store: what it can do, and how much room it has. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cache/store.h"
#include "cli/doctor.h"
#include "cli/human.h"

#define ROOM_WARN (UINT64_C(2) << 30)
#define ROOM_BAD (UINT64_C(100) << 20)

static void check_type(struct doctor_report *r, const struct store *s, const struct statfs *fs)
{
	switch ((unsigned long)fs->f_type) {
	case OVERLAYFS_SUPER_MAGIC:
		doctor_add(r, "store type", DOCTOR_WARN, "%s is on overlayfs: upper directories cannot lie there, and the "
			   "kernel cannot mount layer indexes from it", s->store_path);
		break;
	case NFS_SUPER_MAGIC:
		doctor_add(r, "store type", DOCTOR_WARN, "%s is on NFS, where lazyrun was never tried", s->store_path);
		break;
	case TMPFS_MAGIC:
		doctor_add(r, "store type", DOCTOR_WARN, "%s is on tmpfs: images fill the memory and are gone after a boot",
			   s->store_path);
		break;
	default:
		doctor_add(r, "store type", DOCTOR_OK, "%s", s->store_path);
		return;
	}
	doctor_remedy(r, "choose a directory on a local disk with --store DIR or LAZYRUN_STORE");
}

static void check_abilities(struct doctor_report *r, const struct store *s)
{
	_cleanup_(fd_close) int fd = openat(s->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const char *xattr = geteuid() == 0 ? "trusted.lazyrun" : "user.lazyrun";

	if (fd < 0) {
		doctor_add(r, "store files", DOCTOR_WARN, "%s/tmp: %s", s->store_path, strerror(errno));
		return;
	}
	if (fsetxattr(fd, xattr, "1", 1, 0) < 0) {
		doctor_add(r, "store xattrs", DOCTOR_BAD, "extended attributes (%s*) do not work: %s",
			   geteuid() == 0 ? "trusted." : "user.", strerror(errno));
		doctor_remedy(r, "overlayfs needs them in its upper directory; choose ext4, xfs or btrfs with --store DIR");
	} else {
		doctor_add(r, "store xattrs", DOCTOR_OK, "extended attributes work");
	}
	if (ftruncate(fd, 8192) < 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0) {
		doctor_add(r, "store holes", DOCTOR_WARN, "holes cannot be punched (%s): evict cannot give room back",
			   strerror(errno));
		doctor_remedy(r, "choose ext4, xfs, btrfs or tmpfs with --store DIR");
	} else {
		doctor_add(r, "store holes", DOCTOR_OK, "holes can be punched");
	}
}

static void check_room(struct doctor_report *r, const struct statfs *fs)
{
	uint64_t room = (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize;
	char text[HUMAN_SIZE];

	doctor_add(r, "store room", room < ROOM_BAD ? DOCTOR_BAD : room < ROOM_WARN ? DOCTOR_WARN : DOCTOR_OK,
		   "%s free", human_bytes(room, text));
	if (room < ROOM_WARN)
		doctor_remedy(r, "`lazyrun rmi` or `lazyrun evict` images, or choose another place with --store DIR");
}

void doctor_store(struct doctor_report *r)
{
	_cleanup_(store_free) struct store *s = NULL;
	char text[REPORT_TEXT_SIZE];
	struct statfs fs;
	int err;

	report_capture(text);
	err = store_open(NULL, NULL, true, &s);
	report_capture(NULL);
	if (err < 0) {
		doctor_add(r, "store", DOCTOR_BAD, "%s", text[0] ? text : strerror(-err));
		doctor_remedy(r, "choose other directories with --store DIR and --run-dir DIR");
		return;
	}
	if (fstatfs(s->store_fd, &fs) < 0)
		return;
	check_type(r, s, &fs);
	check_abilities(r, s);
	check_room(r, &fs);
	doctor_add(r, "run directory", DOCTOR_OK, "%s", s->run_path);
}
