#!/bin/busybox sh
# The first process of the machine in QEMU: the host's files below a layer of memory, the modules that the tests need, and the
# command that the kernel's command line ends with. @see run.sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# A static busybox is no program that the kernel can call to load a module by itself.
for module in virtio_pci virtiofs overlay veth bridge dummy unix af_packet nfnetlink nf_tables nf_conntrack nf_nat \
  nf_conntrack_netlink nft_ct nft_chain_nat nft_masq nft_redir nft_nat nft_reject nft_reject_inet nft_reject_ipv4 \
  nft_reject_ipv6 nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_limit nft_quota nft_log nft_hash nft_numgen nft_objref \
  nft_connlimit nfnetlink_log nf_log_syslog nft_socket nft_tproxy sch_htb sch_netem sch_fq_codel tcp_bbr; do
  modprobe "$module" 2>/dev/null
done
mount -t tmpfs -o size=2g memory /rw
mkdir -p /rw/lower /rw/upper /rw/work /rw/root
mount -t virtiofs -o ro files /rw/lower || poweroff -f
mount -t overlay -o lowerdir=/rw/lower,upperdir=/rw/upper,workdir=/rw/work layer /rw/root || poweroff -f
cd /rw/root
for folder in proc sys dev; do mount --move /$folder $folder; done
mkdir -p dev/pts dev/shm
mount -t devpts pts dev/pts
mount -t tmpfs memory dev/shm
mount -t tmpfs memory run
mount -t tmpfs memory tmp
mkdir -p run/netns
ip link set lo up
echo "booted $(uname -r) in $(cut -d' ' -f1 proc/uptime) s"
chroot . /bin/bash -c "$(sed 's/.*run=//' proc/cmdline)"
echo "clawgress-exit=$?"
poweroff -f
