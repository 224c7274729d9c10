/* Puts a member together from its header block, pax records and GNU long names. */
#include "format/tar_member.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/limits.h"
#include "base/report.h"

#define MAX_MAJOR 0xfff /* Linux' dev_t: 12 and 20 bits */
#define MAX_MINOR 0xfffff

void tar_extras_free(struct tar_extras *x)
{
	pax_free(&x->global);
	pax_free(&x->local);
	bytes_free(&x->long_path);
	bytes_free(&x->long_link);
	bytes_free(&x->xattrs);
	*x = (struct tar_extras){0};
}

void tar_extras_clear(struct tar_extras *x)
{
	if (!x->pending)
		return;
	pax_clear(&x->local);
	x->long_path.size = x->long_link.size = 0;
	x->pending = false;
}

static int read_type(const struct tar_header *h, struct tar_member *m, bool *ret_body)
{
	size_t n = strlen(m->path);

	*ret_body = false;
	switch (h->type) {
	case '\0': /* before POSIX a slash at the end told directories */
		*ret_body = !n || m->path[n - 1] != '/';
		m->type = *ret_body ? TAR_FILE : TAR_DIRECTORY;
		return 0;
	case '0':
	case '7': /* "contiguous" */
	case 'S': /* old GNU sparse */
		*ret_body = true;
		m->type = TAR_FILE;
		return 0;
	case '1':
		m->type = TAR_HARD_LINK;
		return 0;
	case '2':
		m->type = TAR_SYMLINK;
		return 0;
	case '3':
		m->type = TAR_CHARACTER_DEVICE;
		return 0;
	case '4':
		m->type = TAR_BLOCK_DEVICE;
		return 0;
	case 'D': /* GNU incremental: a directory whose body lists its names */
		*ret_body = true;
		m->type = TAR_DIRECTORY;
		return 0;
	case '5':
		m->type = TAR_DIRECTORY;
		return 0;
	case '6':
		m->type = TAR_FIFO;
		return 0;
	default:
		return fail(EOPNOTSUPP, "member %.200s: its type '%c' (0x%02x) is not supported",
			    m->path, h->type, (unsigned char)h->type);
	}
}

/* pax 0.0 names no version, 0.1 may not either. */
static int read_sparse(const struct tar_header *h, const struct pax *p, struct tar_member *m,
		       enum tar_sparse *ret)
{
	const uint32_t version = PAX_SPARSE_MAJOR | PAX_SPARSE_MINOR;
	bool map = p->set & (PAX_SPARSE_MAP | PAX_SPARSE_PAIRS);

	*ret = TAR_SPARSE_NONE;
	if (h->type == 'S') {
		if (h->format != TAR_HEADER_GNU || p->set & version || map)
			return fail(EBADMSG, "member %.200s: sparse in two ways at once", m->path);
		*ret = TAR_SPARSE_GNU;
		return 0;
	}
	if (!(p->set & version) && !map)
		return 0;
	if (!(p->set & version) ||
	    ((p->set & version) == version && !p->sparse_major && p->sparse_minor < 2))
		*ret = TAR_SPARSE_LISTED;
	else if ((p->set & version) == version && p->sparse_major == 1 && !p->sparse_minor && !map)
		*ret = TAR_SPARSE_IN_BODY;
	else
		return fail(EOPNOTSUPP, "member %.200s: this version of sparse is not supported",
			    m->path);
	if (*ret == TAR_SPARSE_LISTED && p->set & PAX_SPARSE_BLOCKS &&
	    p->sparse_blocks != p->map.n_entries)
		return fail(EBADMSG, "member %.200s: its sparse map is short", m->path);
	if (p->set & PAX_SPARSE_SIZE)
		m->size = p->sparse_size;
	if (p->set & PAX_SPARSE_NAME)
		m->path = pax_text(p, p->sparse_name_off);
	return 0;
}

static void read_texts(const struct tar_header *h, const struct tar_extras *x, struct tar_member *m)
{
	const struct pax *p;

	p = pax_choose(&x->local, &x->global, PAX_PATH);
	m->path = p ? pax_text(p, p->path_off) : h->path;
	if (x->long_path.size)
		m->path = (const char *)x->long_path.data;
	p = pax_choose(&x->local, &x->global, PAX_LINK);
	m->link = p ? pax_text(p, p->link_off) : h->link;
	if (x->long_link.size)
		m->link = (const char *)x->long_link.data;
	p = pax_choose(&x->local, &x->global, PAX_UNAME);
	m->uname = p ? pax_text(p, p->uname_off) : h->uname;
	p = pax_choose(&x->local, &x->global, PAX_GNAME);
	m->gname = p ? pax_text(p, p->gname_off) : h->gname;
}

static int read_owner(const struct tar_member *m, const char *what, uint64_t id, uint32_t *ret)
{
	/* The last number means "leave it" to chown(2). */
	if (id >= UINT32_MAX)
		return fail(EBADMSG, "member %.200s: its %s is out of range", m->path, what);
	*ret = (uint32_t)id;
	return 0;
}

static int read_numbers(const struct tar_header *h, const struct tar_extras *x,
			struct tar_member *m)
{
	const struct pax *p;
	int r;

	p = pax_choose(&x->local, &x->global, PAX_UID);
	r = read_owner(m, "uid", p ? p->uid : (uint64_t)h->uid, &m->uid);
	if (r < 0)
		return r;
	p = pax_choose(&x->local, &x->global, PAX_GID);
	r = read_owner(m, "gid", p ? p->gid : (uint64_t)h->gid, &m->gid);
	if (r < 0)
		return r;
	p = pax_choose(&x->local, &x->global, PAX_SIZE);
	m->size = p ? p->size : h->size;
	p = pax_choose(&x->local, &x->global, PAX_MTIME);
	m->mtime = p ? p->mtime : h->mtime;
	m->mtime_nsec = p ? p->mtime_nsec : 0;
	m->mode = (mode_t)(h->mode & 07777);
	if (h->major < 0 || h->major > MAX_MAJOR || h->minor < 0 || h->minor > MAX_MINOR)
		return fail(EBADMSG, "member %.200s: its device number is out of range", m->path);
	m->major = (uint32_t)h->major;
	m->minor = (uint32_t)h->minor;
	return 0;
}

static int read_link(struct tar_member *m)
{
	size_t size = strlen(m->link);

	if (m->type != TAR_HARD_LINK && m->type != TAR_SYMLINK) {
		m->link = "";
		return 0;
	}
	if (!size)
		return fail(EBADMSG, "member %.200s: a link without a target", m->path);
	if (size > LIMIT_PATH_SIZE)
		return fail(EFBIG, "member %.200s: a link target of %zu bytes, allowed are %u",
			    m->path, size, LIMIT_PATH_SIZE);
	return 0;
}

int tar_member_fill(const struct tar_header *h, struct tar_extras *x, struct tar_member *ret,
		    uint64_t *ret_body_size, enum tar_sparse *ret_sparse)
{
	struct tar_member m = {0};
	uint64_t body_size;
	bool body;
	int r;

	read_texts(h, x, &m);
	r = read_type(h, &m, &body);
	if (r < 0)
		return r;
	r = read_numbers(h, x, &m);
	if (r < 0)
		return r;
	r = read_link(&m);
	if (r < 0)
		return r;
	body_size = body ? m.size : 0;
	if (m.type != TAR_FILE)
		m.size = 0;
	r = read_sparse(h, &x->local, &m, ret_sparse);
	if (r < 0)
		return r;
	m.sparse = *ret_sparse != TAR_SPARSE_NONE;
	if (m.sparse && m.type != TAR_FILE)
		return fail(EBADMSG, "member %.200s: sparse, but not a file", m.path);
	if (m.size > LIMIT_LAYER_FILE_SIZE || body_size > LIMIT_LAYER_FILE_SIZE)
		return fail(EFBIG, "member %.200s: over %" PRIu64 " GiB", m.path,
			    LIMIT_LAYER_FILE_SIZE >> 30);
	r = pax_xattrs(&x->local, &x->global, &x->xattrs, &m.n_xattrs);
	if (r == -EFBIG)
		return fail(EFBIG, "member %.200s: over %u bytes of xattrs", m.path,
			    LIMIT_XATTRS_SIZE);
	if (r < 0)
		return r;
	m.xattrs = (const struct tar_xattr *)x->xattrs.data;
	*ret_body_size = body_size;
	*ret = m;
	return 0;
}
