"""A nameserver for early-boot.sh: nameserver.py ADDRESS A AAAA

A and AAAA say what it does with a query of that type: an IPv4 address (for A), SERVFAIL, NOTIMP,
REFUSED, NXDOMAIN, garbage or never. Names below bad.example get SERVFAIL for both.
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
    does = TYPES[struct.unpack(">H", question[-4:-2])[0]]
    if b"\x03bad\x07example\x00" in question:
        does = "SERVFAIL"
    if does == "never":
        continue
    answer = b""
    if does == "garbage":
        response = b"\xff" * 40
    else:
        if does not in CODES:
            answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(does)
        flags = 0x8180 | CODES.get(does, 0)
        header = query[:2] + struct.pack(">HHHHH", flags, 1, len(answer) and 1, 0, 0)
        response = header + question + answer
    udp.sendto(response, client)
