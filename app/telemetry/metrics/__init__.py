"""Every metric there is, by the process that counts it. Labels are bounded: no ids, no names."""
