"""A nameserver for early-boot.sh: nameserver.py ADDRESS A AAAA

A and AAAA define the response to a query of that type: an IPv4 address (for A), SERVFAIL, NOTIMP,
REFUSED, NXDOMAIN, garbage (not DNS) or never (no response). Names below bad.example get
SERVFAIL for both types.
"""

import socket
import struct
import sys

CODES = {"SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
TYPES = {1: sys.argv[2], 28: sys.argv[3]}

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 53))
while True:
    query, client = udp.recvfrom(512)
    end = query.index(0, 12) + 5
    question = query[12:end]
    action = TYPES[struct.unpack(">H", question[-4:-2])[0]]
    if b"\x03bad\x07example\x00" in question:
        action = "SERVFAIL"
    if action == "never":
        continue
    answer = b""
    if action == "garbage":
        response = b"\xff" * 40
    else:
        if action not in CODES:
            answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(action)
        flags = 0x8180 | CODES.get(action, 0)
        header = query[:2] + struct.pack(">HHHHH", flags, 1, len(answer) and 1, 0, 0)
        response = header + question + answer
    udp.sendto(response, client)
