"""One story from beginning to end, which CI also runs under the sanitizers."""
import os
import subprocess
import unittest

import oci
import odd_image
import tree
from lab import CONFIG, Case, tiny


class Story(Case):
    def test_from_pull_to_rmi(self):
        lab = self.lab
        tars = [tiny([oci.directory("d"), oci.member("d/big", odd_image.noise("story", 3 << 20))]),
                oci.tar([oci.member("upper", b"u"), oci.whiteout("etc/os-release")])]
        for form in oci.FORMS:
            with self.subTest(form):
                image = lab.image("story-" + form, tars, CONFIG, form)
                lab.lazyrun("pull", image, check=0)
                out = lab.lazyrun("run", image, "sh", "-c", "cat /upper; ls /etc | grep -v -e host -e resolv; sha256sum </d/big", check=0).stdout
                self.assertEqual(out.split(), ["ugroup", "passwd", oci.sha256(odd_image.noise("story", 3 << 20))[7:], "-"])
                self.assertEqual(lab.lazyrun("run", image, "sh", "-c", "exit 9").returncode, 9)
                self.assertEqual(lab.lazyrun("ls", image, "/d", check=0).stdout, "big\n")
                self.assertEqual(lab.lazyrun("cat", image, "/upper", check=0).stdout, "u")
                lab.lazyrun("inspect", image, check=0)
                lab.lazyrun("evict", image, check=0)
                self.assertEqual(lab.lazyrun("cat", image, "/d/big", check=0).raw, odd_image.noise("story", 3 << 20))
        lab.lazyrun("images", check=0)
        lab.lazyrun("status", check=0)
        self.assertEqual(lab.lazyrun("run", image, "no-such-command").returncode, 127)
        self.assertEqual(lab.lazyrun("pull", "127.0.0.1:1/nothing").returncode, 125)
        for form in oci.FORMS:
            lab.lazyrun("rmi", f"{lab.registry.address}/story-{form}", check=0)
        self.assertEqual(os.listdir(lab.store + "/layers"), [])
        log = lab.log()
        lab.lazyrun("stop-server", check=0)
        self.assertNotRegex(log + lab.log(), "Sanitizer|runtime error")

    def test_the_odd_image(self):
        """All that is legal and rare, looked at through the mount; bench/tree_equal holds it against umoci."""
        lab = self.lab
        lab.layout.build("odd", odd_image.layers(), {"Cmd": ["/bin/true"]})
        reference = lab.registry.push(lab.layout, "odd")
        at = lab.where + "/mnt"
        os.mkdir(at)
        lab.lazyrun("mount", reference, at, check=0)
        try:
            if self.root:
                found = tree.capture(at)
                _, deep = odd_image.deep_path()
                self.assertIn(deep.encode(), found)
                self.assertEqual(len([p for p in found if p.startswith(b"many/")]), 5401)
                self.assertEqual(sorted(p for p in found if p.startswith(b"cover/")),
                                 [b"cover/high", b"cover/sub", b"cover/sub/high"])
                self.assertEqual(found[b"xattrs/cap"].xattrs["security.capability"], odd_image.CAP_NET_BIND)
                self.assertEqual(found[b"sparse/v10/big"].size, 64 << 20)
                self.assertEqual(found[b"sparse/old/big"].content, found[b"sparse/v10/big"].content)
            else:
                subprocess.run(lab.argv("unshare", "--", "find", at + "/many", at + "/names", at + "/times", "-ls"),
                               check=True, stdout=subprocess.DEVNULL, env=lab.environ)
        finally:
            lab.lazyrun("umount", at, check=0)


if __name__ == "__main__":
    unittest.main()
